{{- /* Pods' names are TAMIS_NODE, which takes no dot. */ -}}
{{- define "tamis.name" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- ternary $release (printf "%s-tamis" $release) (contains "tamis" $release) | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "tamis.selector" -}}
app.kubernetes.io/name: tamis
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- define "tamis.labels" -}}
{{ include "tamis.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "tamis.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "tamis.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end -}}
{{- end }}

{{- define "tamis.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{- /* The build of PyTorch that drives the devices of this resource: the image's variant. */ -}}
{{- define "tamis.gpuVariant" -}}
{{ ternary (ternary "rocm" "cuda" (hasPrefix "amd.com/" .Values.node.gpuResource)) "cpu" (gt (int .Values.node.gpus) 0) }}
{{- end }}

{{- define "tamis.gpuImage" -}}
{{ .Values.gpuImage.repository }}:{{ .Values.gpuImage.tag | default (printf "%s-%s" .Chart.AppVersion (include "tamis.gpuVariant" .)) }}{{ with .Values.gpuImage.digest }}@{{ . }}{{ end }}
{{- end }}

{{- define "tamis.podMetadata" -}}
labels:
  {{- include "tamis.labels" . | nindent 2 }}
annotations:
  # Workers read their settings once, at start: new ones roll the pods.
  checksum/settings: {{ include (print .root.Template.BasePath "/configmap.yaml") .root | sha256sum }}
  {{- with .root.Values.podAnnotations }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "tamis.podSpec" -}}
serviceAccountName: {{ include "tamis.serviceAccount" .root }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ add .root.Values.drainSeconds 30 }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: { type: RuntimeDefault }
  {{- with .values.supplementalGroups }}
  supplementalGroups: {{ toJson . }}
  {{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tamis.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- /* Settings that every container has: the ConfigMap's, and the secrets as files. */ -}}
{{- define "tamis.settings" -}}
envFrom:
  - configMapRef: { name: {{ include "tamis.name" .root }}-settings }
env:
  - name: TAMIS_NODE
    valueFrom: { fieldRef: { fieldPath: metadata.name } }
  {{- range $setting, $key := .root.Values.secrets.keys }}
  - { name: {{ $setting }}_FILE, value: /run/secrets/tamis/{{ $key }} }
  {{- end }}
  - { name: TAMIS_STATE_DIR, value: /var/lib/tamis }
  {{- with .port }}
  - { name: TAMIS_METRICS_PORT, value: {{ . | quote }} }
  - { name: TAMIS_METRICS_HOST, value: 0.0.0.0 }
  {{- end }}
{{- end }}

{{- define "tamis.mounts" -}}
- { name: state, mountPath: /var/lib/tamis }
- { name: tmp, mountPath: /tmp }
- { name: secrets, mountPath: /run/secrets/tamis, readOnly: true }
{{- if .Values.files }}
- { name: files, mountPath: /etc/tamis, readOnly: true }
{{- end }}
{{- end }}

{{- define "tamis.volumes" -}}
- name: tmp
  emptyDir: { sizeLimit: 2Gi }
- name: secrets
  secret: { secretName: {{ .Values.secrets.existing }}, defaultMode: 0440 }
{{- if .Values.files }}
- name: files
  configMap: { name: {{ include "tamis.name" . }}-files }
{{- end }}
{{- end }}

{{- define "tamis.probes" -}}
ports:
  - { name: {{ .portName }}, containerPort: {{ .port }} }
# Consuming, and so warm: until then nobody asks whether it lives.
startupProbe:
  httpGet: { path: /readyz, port: {{ .portName }} }
  periodSeconds: 10
  failureThreshold: {{ div (add .startupSeconds 9) 10 }}
livenessProbe:
  httpGet: { path: /livez, port: {{ .portName }} }
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 4
readinessProbe:
  httpGet: { path: /readyz, port: {{ .portName }} }
  periodSeconds: 15
  timeoutSeconds: 5
{{- end }}

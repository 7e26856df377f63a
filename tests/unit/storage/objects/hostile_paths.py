"""Hostile values of a row's path: pairs ``(bucket, path)`` that must be refused before any file or request."""

from __future__ import annotations

BUCKET = "videos"
HOSTILE = [
    (BUCKET, "../others/secret.mp4"),
    (BUCKET, "2025/../../others/secret.mp4"),
    (BUCKET, "2025/./clip.mp4"),
    (BUCKET, ".."),
    (BUCKET, "/etc/passwd"),
    (BUCKET, "//others/secret.mp4"),
    (BUCKET, "2025//clip.mp4"),
    (BUCKET, "2025/"),
    (BUCKET, ""),
    (BUCKET, "%2e%2e/others/secret.mp4"),
    (BUCKET, "%252e%252e%252fothers%252fsecret.mp4"),
    (BUCKET, "..%2fothers%2fsecret.mp4"),
    (BUCKET, "%5c..%5cothers%5csecret.mp4"),
    (BUCKET, "a%2f%252e%252e%2fothers"),
    (BUCKET, "2025/clip.mp4%00.txt"),
    (BUCKET, "..\\others\\secret.mp4"),
    (BUCKET, "2025/clip.mp4\0.txt"),
    (BUCKET, "2025/clip.mp4\r\nHost: elsewhere"),
    (BUCKET, "2025/\ud800.mp4"),
    (BUCKET, "x" * 1024),
    (BUCKET, "é" * 512),
    (BUCKET, "oss://others/secret.mp4"),
    (BUCKET, "oss://videos/../others/secret.mp4"),
    (BUCKET, "oss://videos"),
    ("others", "secret.mp4"),  # not on the allow-list
    ("others", "oss://videos/2025/clip.mp4"),
    ("", "2025/clip.mp4"),
    ("..", "others/secret.mp4"),
    ("videos/../others", "secret.mp4"),
    ("VIDEOS", "2025/clip.mp4"),
    ("videos@elsewhere", "2025/clip.mp4"),
]
"""Valid names that look like attacks: they must reach a store unchanged, percent-encoded in HTTP."""
LITERAL = [
    "．．/others/secret.mp4",
    "2025/‥/clip.mp4",
    "%c0%ae%c0%ae/others/secret.mp4",
    "2025/clip.mp4?x#y",
    "https%3A%2F%2Fcdn.example.com%2Fclip.mp4",
    "%2fetc%2fpasswd",
    "shot%03d.mp4",
    "50%25 off.mp4",
    "100%",
    "~root",
    "...",
]
IDS = [f"{bucket}:{path[:30]!a}" for bucket, path in HOSTILE]

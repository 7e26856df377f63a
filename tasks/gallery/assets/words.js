"use strict";
// The page's texts in English and Chinese; {0}, {1} … take values. A test holds both lists to the same keys.
const TEXTS = {
  en: {
    counts: "{0} of {1} videos shown; thresholds keep {2}, drop {3}; you keep {4}, drop {5}; {6} failed",
    untrained: "Untrained weights: these verdicts mean nothing.",
    undo: "Undo", export: "Export decisions", import: "Import decisions", keys: "Keys", language: "中文",
    search: "Search id, tag or path", tag: "Tag", change: "Changes sides", outcome: "Outcome", decision: "Decision", any: "any", sort: "Sort by",
    label: "Label", order: "table order", id: "id", descending: "highest first", ascending: "lowest first",
    border: "at the border", falls: "{0} fall", off: "off", cross: "Cross table", rows: "Rows", columns: "Columns",
    none: "nothing matches: 0 of {0} videos considered", clear: "Clear filters",
    keep: "keep", drop: "drop", undecided: "undecided", ok: "judged", failed: "failed",
    why: "Why", above: "{0}: {1} ≥ {2}, over the threshold by {3}", below: "{0}: {1} < {2}, {3} below the threshold",
    windows: "{0} of {1} windows reach it", runnerUp: "next: {0} {1}", window: "{0}–{1} s: {2} {3}",
    boxes: "Solid: found regions. Dashed: the crop.", facts: "Facts", duration: "duration", size: "picture", codec: "codec",
    bytes: "bytes", fps: "frames/s", tier: "tier", device: "device", stages: "milliseconds", signals: "signals", source: "source",
    unreachable: "The video cannot be reached from this page.", noStrip: "No frames: {0}", play: "Play", choose: "Choose a video.",
    help: [
      ["j ↓", "next video"], ["k ↑", "previous video"], ["PgDn PgUp", "ten videos on, back"], ["Home End", "first, last video"],
      ["+", "keep, then next"], ["-", "drop, then next"], ["0", "take the decision back"], ["u", "undo the last decision"],
      ["Space", "play or pause"], ["b", "videos at the border of the sorted score"], ["/", "search"], ["Esc", "back to the list"],
      ["?", "these keys"],
    ],
  },
  zh: {
    counts: "显示 {0} / {1} 个视频;阈值保留 {2},丢弃 {3};您保留 {4},丢弃 {5};失败 {6}",
    untrained: "权重未经训练:这些判定没有意义。",
    undo: "撤销", export: "导出决定", import: "导入决定", keys: "按键", language: "English",
    search: "搜索编号、标签或路径", tag: "标签", change: "决定改变", outcome: "结果", decision: "决定", any: "全部", sort: "排序",
    label: "判定", order: "表中顺序", id: "编号", descending: "从高到低", ascending: "从低到高",
    border: "阈值边界", falls: "{0} 个落选", off: "关闭", cross: "交叉表", rows: "行", columns: "列",
    none: "没有匹配:共 {0} 个视频,匹配 0 个", clear: "清除筛选",
    keep: "保留", drop: "丢弃", undecided: "未定", ok: "已判定", failed: "失败",
    why: "原因", above: "{0}:{1} ≥ {2},超过阈值 {3}", below: "{0}:{1} < {2},低于阈值 {3}",
    windows: "{1} 个窗口中有 {0} 个达到", runnerUp: "其次:{0} {1}", window: "{0}–{1} 秒:{2} {3}",
    boxes: "实线:发现的区域。虚线:裁剪。", facts: "信息", duration: "时长", size: "画面", codec: "编码",
    bytes: "字节", fps: "帧/秒", tier: "存储层", device: "设备", stages: "毫秒", signals: "信号", source: "来源",
    unreachable: "此页面无法访问该视频。", noStrip: "没有画面:{0}", play: "播放", choose: "请选择一个视频。",
    help: [
      ["j ↓", "下一个视频"], ["k ↑", "上一个视频"], ["PgDn PgUp", "向后、向前十个"], ["Home End", "第一个、最后一个"],
      ["+", "保留并到下一个"], ["-", "丢弃并到下一个"], ["0", "取消此决定"], ["u", "撤销上一个决定"],
      ["Space", "播放或暂停"], ["b", "所选分数阈值边界处的视频"], ["/", "搜索"], ["Esc", "回到列表"],
      ["?", "显示按键"],
    ],
  },
};
const words = {
  language: "en",
  say(key, ...values) {
    return TEXTS[words.language][key].replace(/\{(\d)\}/g, (_, index) => String(values[index]));
  },
};

// The server's own sentences in the page's language, by their code. English is the server's own; a sentence without a
// code here is quoted, and introduced as the server's. Knows nothing of where it is shown.

import { element } from "./element.js";
import { currentLanguage, filled, number } from "./i18n.js";

const MEASURED = "{measure} {mean}（{low} 至 {high}），{queries} 个已评判的问题{script}";

const CHINESE = {
  /** Introduces a sentence that has no code here. */
  quoted: "服务返回的信息（英文）：{sentence}",

  scripts: {
    latin: "拉丁文字", han: "汉字", kana: "日文", hangul: "韩文", thai: "泰文", cyrillic: "西里尔文字", arabic: "阿拉伯文字",
    devanagari: "天城文", greek: "希腊文字", hebrew: "希伯来文字", other: "其他文字",
  },

  words: {
    null: "空值", true: "true", false: "false", "a string": "字符串", "a string of whole Unicode characters": "由完整 Unicode 字符组成的字符串",
    "a list": "列表", "an object": "对象", "a whole number": "整数", "a number": "数字", "a finite number": "有限的数字",
    "true or false": "布尔值", "at least": "不小于 {value}", "at most": "不大于 {value}",
    "a key": "密钥", "an API key": "API 密钥", "the metrics key": "指标密钥", "an admin key": "管理员密钥",
  },

  messages: {
    "gate.setting": "设置 gate={gate}",
    "gate.alert": "重排模型的健康告警：{why}",
    "gate.script": "{model} 读不懂{script}；可用 `--model` 换一个读得懂的",
    "gate.no-evidence": "没有不利的证据：可用 `finerank evaluate --store` 收集一些",
    "gate.hurts": `重排在这里有害：${MEASURED}`,
    "gate.may-hurt": `重排在这里可能有害：${MEASURED}`,
    "gate.helps": `重排在这里有益：${MEASURED}`,
    "gate.no-harm": `未见害处：${MEASURED}`,
    "gate.failed": "重排模型出错",
    "note.recall": "召回不完整：{why}",
    "note.rerank": "未重排：{why}",
    "note.partly": "重排不完整：{why}",
    "note.rewrite": "问题未改写：{why}",
    "note.rewrite-generator": "问题未改写：没有生成模型",
    "note.generator": "生成模型出错：{why}",
    "note.silent": "生成模型 {generator} 没有回答任何内容",
    "note.cites": "回答引用了不存在的 {numbers}",
    "note.sentences": "句子未重排：{why}",
    "note.cache": "答案缓存出错：{why}",
    "note.below": "没有段落达到阈值 {threshold}：{count} 个段落中最高 {best} 分",
    "drop.score": "分数 {score} 低于 {threshold}",
    "drop.older": "早于 {years} 年：日期为 {date}",
    "drop.source": "来源不属于 {allowed}",
    "drop.short": "少于 {least} 个字符：只有 {length} 个",
    "drop.duplicate": "与第 {rank} 名内容重复：{share} 的词语相同",
    "drop.metadata": "{name} 为 {value}",

    "http.status": "HTTP 状态码 {status}。",
    "http.no-path": "{method} {path}：没有这个路径。全部路径见 /docs。",
    "http.nearest-path": "{method} {path}：没有这个路径。是否要找 {near}？",
    "http.method": "{path} 不支持 {method}，请改用 {allowed}。",
    "body.missing": "缺少字段 {field}。",
    "body.empty": "字段 {field} 为空，请至少提供一项。",
    "body.kind": "字段 {field} 是{kind}，应为{wanted}。",
    "body.other": "字段 {field} 有误：{why}",
    "body.json": "请求体不是合法的 JSON：{why}",
    "body.bytes": "请求体超过 {limit} 字节。请分批发送，或调高 max_body_mb。",
    "body.values": "请求体含有 {count} 个 JSON 值，上限为 {limit} 个。请去掉不参与排序的内容，或调高 max_documents。",
    "body.late": "请求体未能在 {seconds} 秒内传完。",
    "body.timeout": "X-Request-Timeout 的值 {given} 无效，应为大于 0 的秒数。",
    "query.empty": "查询为空，无法排序。",
    "query.invisible": "查询为空：只含不可见字符（{characters}），无法排序。",
    "question.empty": "问题为空，无法检索或回答。",
    "documents.count": "共 {count} 条候选，一次最多 {limit} 条。请分批发送，或调高 max_documents。",
    "documents.tokens": "候选超过一次请求的上限 {limit} 个词元。请分批发送，或调高 max_request_tokens。",
    "documents.explained-tokens": "计算解释所需的词元超过一次请求的上限 {limit} 个。请减少候选，或调高 max_request_tokens。",
    "documents.nan": "模型对该候选给出的分数是 {logit}。请以 dtype='fp32' 加载模型（半精度可能溢出）；如果仍然如此，说明权重已损坏。",
    "overlap.characters": "查询和候选共 {size} 个字符，词语重合最多统计 {limit} 个。请减少候选。",
    "file.kind": "无法读取这种文件。可读取的有 {kinds}。",
    "file.long": "文件中的文字超过 {limit} 字节，请拆分后再试。",
    "file.no-text": "文件中没有文字。如果是扫描件，请先做文字识别，例如使用 ocrmypdf。",
    "file.extra": "服务端缺少读取这种文件所需的组件：{why}",
    "file.broken": "无法按 {format} 读取：{why}",
    "extra.missing": "服务端缺少可选组件，请运行 `pip install 'finerank[{extra}]'`。",
    "key.unknown": "密钥无效，需要{key}。",
    "key.missing": "请求须携带{key}：`Authorization: Bearer KEY`。",
    "key.not-allowed": "此操作需要{key}，当前密钥没有权限。",
    "key.no-admin": "此操作需要管理员密钥，而服务没有设置。启动服务时请设置 admin_keys_file 或 FINERANK_SERVE_ADMIN_KEYS。",
    "host.unknown": "本服务不接受以主机名 {host} 访问。请将其加入 allowed_hosts，或设置 API 密钥（api_keys_file）。",
    "origin.foreign": "来自 {origin} 的页面不能调用本服务。允许的来源由 cors_origins 设置。",
    "server.closing": "服务正在关闭。请改用其他服务，或稍后再试。",
    "server.closed": "服务已关闭，请改用其他服务。",
    "server.requests": "正在处理 {inside} 个请求，上限为 {limit} 个（max_requests）。请 1 秒后重试。",
    "server.bodies": "等待处理的请求已占用 {megabytes} MB。请 1 秒后重试。",
    "server.queue": "队列中有 {queued} 个词元，上限为 {limit} 个，无法再加入 {tokens} 个。请 {seconds} 秒后重试，或调高 max_queue_tokens。",
    "server.late": "未能在 {seconds} 秒内完成。请减少候选，或调高 timeout_s。",
    "server.explain-late": "未能在 {seconds} 秒内算出解释。请减少候选。",
    "server.ask-late": "回答耗时过长。请重新提问，或调高 timeout_s。",
    "server.no-store": "本服务没有知识库，无法回答问题。启动时请加上 --store。",
    "model.unloading": "模型正在卸载，请重新发送。",
    "model.unavailable": "模型 {model} 不可用：{why}",
    "model.unknown": "本服务没有模型 {model}，现有 {names}。",
    "scoring.failed": "打分失败：{why}",
    "degraded.own-order": "未重排，以下是原顺序：{why}",
    "degraded.words-only": "只按词语检索：{why}",
    "baseline.requests": "统计窗口内只有 {count} 个请求，保存基线至少需要 {least} 个。请稍后再试。",
  },
};

const SENTENCES = { zh: CHINESE };

/** The sentence as nodes; what stands between backticks is code. `code` and `values` are the server's. */
export const said = (sentence, how) => withCode(saidText(sentence, how));

/** The sentence as text. */
export function saidText(sentence, { code = "", values = {} } = {}) {
  const known = SENTENCES[currentLanguage()];
  if (!known || !sentence) return sentence ?? "";
  if (!known.messages[code]) return filled(known.quoted, { sentence });
  const shown = Object.entries(values).map(([name, value]) => [name, shownValue(known, code, name, value)]);
  return filled(known.messages[code], Object.fromEntries(shown));
}

/** A value may be a sentence itself. Kinds and scripts have names; a script stands in brackets after a count. */
function shownValue({ words, scripts }, code, name, value) {
  if (value?.message !== undefined) return saidText(value.message, value);
  if (name === "script") return value && (code === "gate.script" ? named(scripts, value) : `（${named(scripts, value)}）`);
  if (["kind", "wanted", "key"].includes(name)) return value.split(" or ").map((each) => named(words, each)).join("或");
  return typeof value === "number" ? number(value) : String(value);
}

/** A word's name in the language; the last of several words may be a value: "at least 1". */
function named(names, word) {
  if (names[word]) return names[word];
  const [, start, end] = /^(.*) (\S+)$/.exec(word) ?? [];
  return names[start] ? filled(names[start], { value: end }) : word;
}

const withCode = (text) => text.split("`").map((part, place) => (place % 2 ? element("code", { dir: "ltr" }, part) : part));

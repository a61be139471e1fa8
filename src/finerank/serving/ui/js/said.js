// The server's own sentences in the page's language, by their code. English is the server's own, and so is what has no
// code here. Knows nothing of where they are shown.

import { element } from "./element.js";
import { currentLanguage, filled } from "./i18n.js";

const MEASURED = "{measure} {mean}（{low} 至 {high}），{queries} 个已评判的问题{script}";

const SENTENCES = {
  zh: {
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
  },
};

const SCRIPTS = {
  zh: {
    latin: "拉丁文字", han: "汉字", kana: "日文", hangul: "韩文", thai: "泰文", cyrillic: "西里尔文字", arabic: "阿拉伯文字",
    devanagari: "天城文", greek: "希腊文字", hebrew: "希伯来文字", other: "其他文字",
  },
};

/** The sentence as nodes; what stands between backticks is code. */
export function said(sentence, { code = "", values = {} } = {}) {
  const message = SENTENCES[currentLanguage()]?.[code];
  return withCode(message ? filled(message, shown(code, values)) : sentence);
}

/** Scripts have names, and stand in brackets after a count. */
function shown(code, values) {
  if (!("script" in values)) return values;
  const name = SCRIPTS[currentLanguage()][values.script] ?? values.script;
  return { ...values, script: name && code !== "gate.script" ? `（${name}）` : name };
}

const withCode = (text) => text.split("`").map((part, place) => (place % 2 ? element("code", { dir: "ltr" }, part) : part));

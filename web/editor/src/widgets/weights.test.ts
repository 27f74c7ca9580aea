import { expect, test } from "vitest";
import { weighed } from "./weights";

/** A prompt with its selection between two bars; one bar is a caret. */
function marked(text: string) {
  const start = text.indexOf("|");
  const end = text.lastIndexOf("|") - (text.lastIndexOf("|") > start ? 1 : 0);
  return { text: text.replaceAll("|", ""), start, end };
}

test.each([
  ["a |red| circle", 1, "a (|red|:1.1) circle"],
  ["a (|red|:1.1) circle", 1, "a (|red|:1.2) circle"],
  ["a (|red|:1.1) circle", -1, "a |red| circle"],
  ["a |red| circle", -1, "a (|red|:0.9) circle"],
  ["a | red  |circle", 1, "a  (|red|:1.1)  circle"],
  ["a r|ed circle", 1, "a (|red|:1.1) circle"],
  ["a |(red:1.5)| circle", 1, "a (|red|:1.6) circle"],
  ["a (|red|) circle", 1, "a (|red|:1.2) circle"],
  ["(a |red| circle:1.3)", 1, "(a (|red|:1.1) circle:1.3)"],
  ["|(a:1.2) and (b:1.3)|", 1, "(|(a:1.2) and (b:1.3)|:1.1)"],
  ["\\(|red|\\) x", 1, "\\((|red|:1.1)\\) x"],
  ["(|red|:-0.1)", 1, "(|red|:0)"],
  ["红色|圆形|", 1, "红色(|圆形|:1.1)"],
])("%s by %i", (before, steps, after) => expect(weighed(marked(before), steps)).toEqual(marked(after)));

test("without words nothing changes", () => {
  const prompt = marked("a,| b");
  expect(weighed(marked(", | ,"), 1)).toEqual(marked(", | ,"));
  expect(weighed({ ...prompt, text: "", start: 0, end: 0 }, 1)).toEqual({ text: "", start: 0, end: 0 });
});

import type { Strings } from "..";

export const widgets: Strings["widgets"] = {
  choose: "选择",
  default: (value) => `默认值：${value}`,
  notJson: "不是有效的 JSON",
};

import type { Strings } from "..";

export const canvas: Strings["canvas"] = {
  label: "工作流",
  missing: "未安装此节点类型，其数据会保留。",
};

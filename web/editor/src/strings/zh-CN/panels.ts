import type { Strings } from "..";

export const panels: Strings["panels"] = {
  queue: "队列",
  problems: "问题",
};

export const panels = {
  queue: "Queue",
  problems: "Problems",
};

export const canvas = {
  label: "Workflow",
  missing: "This node type is not installed. Its data is kept.",
};

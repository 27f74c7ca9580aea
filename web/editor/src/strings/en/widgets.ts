export const widgets = {
  choose: "Choose",
  default: (value: string) => `Default: ${value}`,
  notJson: "This is no JSON",
};

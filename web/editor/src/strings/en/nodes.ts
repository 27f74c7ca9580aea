/** What node types are called instead of their display names, and other words that people search for. */
export const nodes: { names: Record<string, string>; words: Record<string, string> } = { names: {}, words: {} };

/** What problems are called instead of the server's own sentence, by their codes. */
export const problems: Record<string, string> = {};

/** Answers in the order of their questions: one that comes after the answer to a later question counts no more. */
export function newest() {
  let asked = 0;
  let answered = 0;
  return async <T>(question: Promise<T>, take: (answer: T) => void): Promise<void> => {
    const mine = ++asked;
    const answer = await question;
    if (mine < answered) return;
    answered = mine;
    take(answer);
  };
}

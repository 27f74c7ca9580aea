/** A question that has to be answered before something goes on; one at a time. */

import { create } from "zustand";

export interface Choice {
  id: string;
  label: string;
  kind?: "primary" | "danger";
}

export interface Question {
  title: string;
  text?: string;
  /** A line to be written, with what stands in it at first. */
  field?: { label: string; value: string };
  /** Beside these one can always cancel. The first is what Enter means. */
  choices: readonly Choice[];
}

export interface Answer {
  choice: string;
  text: string;
}

interface QuestionState {
  question: Question | null;
  answer(answer: Answer | null): void;
}

export const useQuestion = create<QuestionState>()(() => ({ question: null, answer: () => undefined }));

/** Ask; null: cancelled, also by a question that comes after this one. */
export function ask(question: Question): Promise<Answer | null> {
  useQuestion.getState().answer(null);
  return new Promise((done) => {
    const answer = (given: Answer | null) => {
      useQuestion.setState({ question: null, answer: () => undefined });
      done(given);
    };
    useQuestion.setState({ question, answer });
  });
}

/** Ask whether something that cannot be taken back is to be done. */
export async function sure(title: string, text: string, label: string): Promise<boolean> {
  return (await ask({ title, text, choices: [{ id: "yes", label, kind: "danger" }] })) !== null;
}

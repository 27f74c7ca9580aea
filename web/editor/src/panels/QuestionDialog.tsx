import { useState } from "react";
import type { Answer, Question } from "../store/question";
import { useQuestion } from "../store/question";
import { useStrings } from "../strings";
import { useModal } from "../widgets/useModal";

/** The question that waits for an answer, above everything else. */
export function QuestionDialog() {
  const { question, answer } = useQuestion();
  return question && <Asked key={question.title} question={question} answer={answer} />;
}

function Asked({ question, answer }: { question: Question; answer(answer: Answer | null): void }) {
  const words = useStrings().panels;
  const { title, text, field, choices } = question;
  const [value, setValue] = useState(field?.value ?? "");
  const [dialog, keys] = useModal(() => answer(null));
  const empty = field !== undefined && value.trim() === "";
  const first = choices[0]?.id ?? "";
  return (
    <dialog ref={dialog} className="dialog question" aria-labelledby="question-title" {...keys}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          answer({ choice: first, text: value });
        }}
      >
        <h2 id="question-title">{title}</h2>
        {text && <p>{text}</p>}
        {field && (
          <label className="question-field">
            {field.label}
            <input
              className="field"
              value={value}
              maxLength={100}
              autoFocus
              onFocus={(event) => event.target.select()}
              onChange={(event) => setValue(event.target.value)}
            />
          </label>
        )}
        <div className="question-choices">
          <button type="button" className="button" onClick={() => answer(null)}>
            {words.cancel}
          </button>
          {choices.toReversed().map(({ id, label, kind }) => (
            <button
              key={id}
              type={id === first ? "submit" : "button"}
              className={kind ? `button button-${kind}` : "button"}
              disabled={empty}
              autoFocus={!field && id === first}
              onClick={id === first ? undefined : () => answer({ choice: id, text: value })}
            >
              {label}
            </button>
          ))}
        </div>
      </form>
    </dialog>
  );
}

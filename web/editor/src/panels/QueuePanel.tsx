import { useEffect, useState } from "react";
import { useCaller } from "../store/caller";
import { sure } from "../store/question";
import { cancelWaiting, followQueue, moveJob, moveTo, pauseQueue, useQueue } from "../store/queue";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { QueueJob } from "./QueueJob";
import { ICONS } from "./icons";
import { useNow } from "./now";

/** The jobs of the server: what runs, what waits in which order, what ended. */
export function QueuePanel() {
  const words = useStrings().panels.jobs;
  const { running, waiting, ended, known, paused } = useQueue();
  const role = useCaller((state) => state.role);
  const now = useNow(running.length ? 1 : 15);
  useEffect(followQueue, []);
  if (!known) return null;
  const empty = running.length + waiting.length + ended.length === 0;
  return (
    <div className="queue">
      <div className="toolbar">
        {role === "admin" && (
          <button className="button" aria-pressed={paused} onClick={() => void pauseQueue(!paused)}>
            <Icon path={paused ? ICONS.resume : ICONS.pause} size={14} />
            {paused ? words.resume : words.pause}
          </button>
        )}
        {waiting.length > 0 && role !== "viewer" && (
          <button className="button" onClick={() => void askThenCancel(waiting.length, words)}>
            {words.cancelWaiting}
          </button>
        )}
      </div>
      {paused && <p className="banner">{words.paused}</p>}
      {empty && <p className="quiet">{words.none}</p>}
      <Section title={words.running}>{running.map((job) => <QueueJob key={job.id} job={job} now={now} />)}</Section>
      <Waiting now={now} />
      <Section title={words.ended}>{ended.map((job) => <QueueJob key={job.id} job={job} now={now} />)}</Section>
    </div>
  );
}

async function askThenCancel(n: number, words: ReturnType<typeof useStrings>["panels"]["jobs"]) {
  if (await sure(words.cancelTitle(n), words.cancelText, words.cancelWaiting)) await cancelWaiting();
}

function Section({ title, children }: { title: string; children: React.ReactNode[] }) {
  if (children.length === 0) return null;
  return (
    <section>
      <h3>{title}</h3>
      <ul className="list">{children}</ul>
    </section>
  );
}

function Waiting({ now }: { now: number }) {
  const words = useStrings().panels.jobs;
  const waiting = useQueue((state) => state.waiting);
  const [dragged, setDragged] = useState<string | null>(null);
  const [over, setOver] = useState<string | null>(null);
  const [told, setTold] = useState("");
  const order = waiting.map(({ id }) => id);

  const move = (id: string, by: number) => {
    const to = moveTo(order, id, by);
    const at = order.indexOf(id) + by;
    if (!to) return;
    setTold(words.moved(waiting.find((job) => job.id === id)?.name || id, Math.max(0, Math.min(order.length - 1, at)) + 1));
    void moveJob(id, to);
  };
  const drop = (onto: string) => {
    if (dragged && dragged !== onto) move(dragged, order.indexOf(onto) - order.indexOf(dragged));
    setDragged(null);
    setOver(null);
  };
  return (
    <>
      <Section title={words.waiting(waiting.length)}>
        {waiting.map((job, place) => (
          <QueueJob
            key={job.id}
            job={job}
            now={now}
            move={waiting.length > 1 ? (by) => move(job.id, by) : undefined}
            place={place}
            last={place === waiting.length - 1}
            over={over === job.id && dragged !== job.id}
            drag={{
              draggable: true,
              onDragStart: () => setDragged(job.id),
              onDragEnd: () => (setDragged(null), setOver(null)),
              onDragOver: (event) => (dragged && event.preventDefault(), setOver(job.id)),
              onDrop: () => drop(job.id),
            }}
          />
        ))}
      </Section>
      <p className="hidden" role="status">
        {told}
      </p>
    </>
  );
}

import type { LiHTMLAttributes } from "react";
import type { Job, OutputFile, Problem } from "../api/client";
import { thumbnailUrl } from "../api/client";
import { useGallery } from "../store/gallery";
import { openJob } from "../store/making";
import { cancelJob, retryJob, useQueue } from "../store/queue";
import type { Run } from "../store/runs";
import { progressOf, useRuns } from "../store/runs";
import { useWorkspace } from "../store/workspace";
import { useStrings } from "../strings";
import { Icon } from "../theme/Icon";
import { ICONS } from "./icons";

interface Props {
  job: Job;
  now: number;
  /** Move it by a number of places; absent: there is nowhere to move to. */
  move?(by: number): void;
  place?: number;
  last?: boolean;
  /** Whether another one would be dropped here. */
  over?: boolean;
  drag?: LiHTMLAttributes<HTMLLIElement>;
}

export function QueueJob({ job, now, move, place = 0, last = false, over, drag }: Props) {
  const words = useStrings();
  const run = useRuns((state) => state.runs[job.id]);
  const made = useQueue((state) => state.made[job.id]);
  const name = job.name || words.shell.untitled;
  const atWork = job.state === "running" || job.state === "claimed" || job.state === "cancelling";
  return (
    <li
      className="job"
      data-state={job.state}
      data-over={over || undefined}
      title={move && words.panels.jobs.keys}
      onKeyDown={(event) => {
        const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (move && by && event.altKey) event.preventDefault(), move(by);
      }}
      {...drag}
    >
      <div className="job-head">
        <span className="job-dot" aria-hidden="true" />
        <span className="job-name">{name}</span>
        <span className="quiet">{timeOf(job, now, words.panels)}</span>
      </div>
      {atWork && run && <Progress run={run} name={name} job={job} />}
      {made && <Made file={made} />}
      {job.problems.length > 0 && <Problems problems={job.problems} />}
      <div className="job-tools">
        <span className="quiet">{words.panels.jobs.states[job.state]}</span>
        {move && <Moves name={name} place={place} last={last} move={move} />}
        <Tools job={job} name={name} />
      </div>
    </li>
  );
}

const WORDS = 6;

/** What a job has saved: a picture, its seed, and the first words of its prompt. */
function Made({ file: { sha256, media, texts, seed } }: { file: OutputFile }) {
  const words = useStrings().panels.gallery;
  const first = (texts.split("\n")[0] ?? "").split(/\s+/).slice(0, WORDS).join(" ");
  return (
    <div className="job-made quiet">
      {media.startsWith("image/") && <img src={thumbnailUrl(sha256)} alt="" loading="lazy" width={40} height={40} />}
      <span>{[seed && `${words.seed} ${seed}`, first].filter(Boolean).join(" · ")}</span>
    </div>
  );
}

function timeOf(job: Job, now: number, words: ReturnType<typeof useStrings>["panels"]): string {
  if (job.state === "queued") return words.ago(now - job.created);
  if (job.finished && job.started) return words.jobs.took(job.finished - job.started);
  if (job.finished) return words.ago(now - job.finished);
  return job.started ? words.jobs.took(Math.max(0, now - job.started)) : "";
}

function Progress({ run, name }: { run: Run; name: string; job: Job }) {
  const words = useStrings().panels.jobs;
  const done = Object.values(run.nodes).filter(({ status }) => status !== "running").length;
  const [node, at] = Object.entries(run.nodes).find(([, { status }]) => status === "running") ?? [];
  const part = progressOf(run);
  return (
    <>
      <div
        className="bar"
        role="progressbar"
        aria-label={words.progress(name)}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(part * 100)}
      >
        <div style={{ width: `${part * 100}%` }} />
      </div>
      <div className="job-step quiet">
        {node && at?.total ? words.step(node, at.step ?? 0, at.total) : (node ?? "")}
        <span>{run.planned > 0 && words.nodes(done, run.planned)}</span>
      </div>
    </>
  );
}

function Problems({ problems }: { problems: readonly Problem[] }) {
  const words = useStrings().panels;
  return (
    <>
      {problems.map((problem, n) => (
        <div className="job-problem" key={n}>
          <p>{problem.message.split("\n")[0]}</p>
          {problem.hint && <p className="quiet">{problem.hint}</p>}
          <details>
            <summary>{words.jobs.details}</summary>
            <pre tabIndex={0}>{fullText(problem)}</pre>
          </details>
        </div>
      ))}
    </>
  );
}

/** Everything that is known of a problem, to be read and copied. */
export function fullText(problem: Partial<Problem>): string {
  const { message, ...rest } = problem;
  const lines = Object.entries(rest).flatMap(([name, text]) => (text ? [`${name}: ${text}`] : []));
  return [message, "", ...lines].join("\n").trim();
}

function Moves({ name, place, last, move }: { name: string; place: number; last: boolean; move(by: number): void }) {
  const words = useStrings().panels.jobs;
  return (
    <>
      <Tool icon={ICONS.front} label={words.front} of={name} disabled={place === 0} onClick={() => move(-place)} />
      <Tool icon={ICONS.up} label={words.up} of={name} disabled={place === 0} onClick={() => move(-1)} />
      <Tool icon={ICONS.down} label={words.down} of={name} disabled={last} onClick={() => move(1)} />
    </>
  );
}

function Tools({ job, name }: { job: Job; name: string }) {
  const words = useStrings().panels;
  const show = useWorkspace((state) => state.show);
  const ended = job.finished !== null;
  const pictures = () => (show("right", "results"), void useGallery.getState().find({ job: job.id }));
  return (
    <>
      {job.state === "done" && <Tool icon={ICONS.pictures} label={words.jobs.pictures} of={name} onClick={pictures} />}
      <Tool icon={ICONS.open} label={words.jobs.open} of={name} onClick={() => void openJob(job.id)} />
      {ended && job.state !== "done" && (
        <Tool icon={ICONS.retry} label={words.jobs.retry} of={name} onClick={() => void retryJob(job.id)} />
      )}
      {!ended && (
        <Tool
          icon={ICONS.close}
          label={words.cancel}
          of={name}
          disabled={job.state === "cancelling"}
          onClick={() => void cancelJob(job.id)}
        />
      )}
    </>
  );
}

interface ToolProps {
  icon: string;
  label: string;
  of: string;
  disabled?: boolean;
  onClick(): void;
}

function Tool({ icon, label, of, disabled, onClick }: ToolProps) {
  return (
    <button className="button-icon" title={label} aria-label={`${label}: ${of}`} disabled={disabled} onClick={onClick}>
      <Icon path={icon} size={15} />
    </button>
  );
}

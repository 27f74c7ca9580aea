/** A 20x20 outline icon from path data; it is decoration, the button beside it has the words. */
export function Icon({ path, size = 18 }: { path: string; size?: number }) {
  return (
    <svg className="icon" width={size} height={size} viewBox="0 0 20 20" aria-hidden="true">
      <path d={path} />
    </svg>
  );
}

import { useEffect, useRef } from "react";
import { useGallery } from "../store/gallery";
import { useStrings } from "../strings";

/** The next page, when its button is reached or seen. */
export function More() {
  const words = useStrings().panels;
  const { next, more } = useGallery();
  const button = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!button.current) return;
    const watch = new IntersectionObserver((seen) => seen.some((one) => one.isIntersecting) && void more(), {
      rootMargin: "400px",
    });
    watch.observe(button.current);
    return () => watch.disconnect();
  }, [next, more]);
  if (next === null) return null;
  return (
    <button ref={button} className="button more" onClick={() => void more()}>
      {words.more}
    </button>
  );
}

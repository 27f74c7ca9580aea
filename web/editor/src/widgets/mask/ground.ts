import { useEffect, useState } from "react";
import { fileUrl, told } from "../../api/client";
import { readingOf } from "../../document/masks";
import { maskFrom, pictureAt } from "./draw";
import type { Extent } from "./view";

/** The picture to paint over, and the mask as it was found. */
export interface Ground extends Extent {
  key: string;
  url: string;
  mask: ImageData | null;
}

/** The ground for a picture and the mask to go on with; null until they are here. */
export function useGround(
  below: string,
  known: string,
  node: Parameters<typeof readingOf>[0],
  fail: (error: string | null) => void,
): Ground | null {
  const [ground, setGround] = useState<Ground | null>(null);
  const { channel, invert } = readingOf(node);
  useEffect(() => {
    if (!below) return setGround(null);
    let late = false;
    const load = async () => {
      const { naturalWidth: width, naturalHeight: height } = await pictureAt(fileUrl(below));
      const mask = known && known !== below ? await maskFrom(fileUrl(known), { width, height }, { channel, invert }) : null;
      if (!late) setGround({ key: `${below} ${known}`, url: fileUrl(below), width, height, mask });
    };
    fail(null);
    load().catch((error) => !late && fail(told(error)));
    return () => void (late = true);
  }, [below, known, channel, invert, fail]);
  return ground;
}

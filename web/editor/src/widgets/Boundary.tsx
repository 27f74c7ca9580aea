import type { ReactNode } from "react";
import { Component } from "react";

interface Props {
  /** What is shown in the place of children that could not be. */
  instead(error: Error): ReactNode;
  /** Another value gives the children another chance. */
  of: unknown;
  children: ReactNode;
}

interface State {
  error: Error | null;
  of: unknown;
}

/** Keeps a fault of what it holds from taking everything around it away. */
export class Boundary extends Component<Props, State> {
  state: State = { error: null, of: this.props.of };

  static getDerivedStateFromError = (error: unknown) => ({ error: error instanceof Error ? error : new Error(String(error)) });

  static getDerivedStateFromProps = ({ of }: Props, state: State) => (of === state.of ? null : { error: null, of });

  render() {
    const { error } = this.state;
    return error ? this.props.instead(error) : this.props.children;
  }
}

/** What withReplay needs of a pusher-js client (7 or 8), and of Echo's `connector.pusher`. */
export interface PusherLike {
  subscribe(channel: string): object;
  channel(channel: string): object;
  allChannels(): object[];
}

/** Where positions outlive the page: `sessionStorage`, or whatever has these two methods. */
export interface Store {
  getItem(key: string): string | null | undefined;
  setItem(key: string, value: string): void;
}

/** What a channel is joined with: its last `count` events, or those of the last `seconds`, or those
 * since a time in Unix milliseconds. */
export type Past = { count: number } | { seconds: number } | { since_ms: number };

export interface Options {
  /** Keeps positions, by the app's key, so that a page that is loaded again resumes. Default: none. */
  store?: Store;
  /** What channels are joined with, by name or by a function of the name. Default: nothing. */
  rewind?: Record<string, Past> | ((channel: string) => Past | null | undefined);
}

/** Why a client can't have what it missed. */
export type Reason = "expired" | "reset" | "ahead" | "too_far" | "unavailable" | "unsupported" | "invalid";

/** The data of `playhead:replayed`. */
export interface Replayed {
  recovered: true;
  /** How many events came. */
  count: number;
  position: string;
}

/** The data of `playhead:gap`: events are missing, so fetch the state anew. */
export interface Gap {
  reason: Reason;
  position: string;
}

export interface Item {
  id: string;
  event: string;
  /** As handlers get it: JSON is read, and encrypted channels' events are decrypted. */
  data: any;
  position: string;
  time_ms: number;
  /** The sender of a client event on a presence channel. */
  user_id?: string;
}

export interface Page {
  /** Newest first; with `after`, oldest first. */
  items: Item[];
  has_more: boolean;
  /** Where to go on: the next `before`, or `after`. */
  next?: string;
}

export interface Query {
  /** 1 to 1,000, default 100. A page may have fewer items and yet more behind them. */
  limit?: number;
  /** Goes back from here. Default: from the first event that the channel's handlers were given. */
  before?: string;
  /** Goes forward from here. Excludes `before`. */
  after?: string;
}

/** What history() rejects with. */
export interface HistoryError extends Error {
  reason: Reason | "not_subscribed" | "rate_limited" | "disconnected" | "timeout";
}

export interface Replaying {
  /** Reads the channel's past. It is asked for once the channel is subscribed. */
  history(query?: Query): Promise<Page>;
}

export type WithReplay<P extends PusherLike> = Omit<P, "subscribe" | "channel" | "allChannels"> & {
  subscribe(channel: string): ReturnType<P["subscribe"]> & Replaying;
  channel(channel: string): ReturnType<P["channel"]> & Replaying;
  allChannels(): (ReturnType<P["allChannels"]>[number] & Replaying)[];
};

/** Adds replay to a pusher-js client, and returns it. Call it before the client is connected: in the
 * turn that made it. Calling it again does nothing. */
export function withReplay<P extends PusherLike>(pusher: P, options?: Options): WithReplay<P>;

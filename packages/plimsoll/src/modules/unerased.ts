/** What of the subject still holds its data. */
export interface Unerased {
  readonly kind: 'event' | 'job' | 'saga' | 'answer';
  /** `orders.placed`, `orders.checkout` */
  readonly name: string;
  /** Of events. */
  readonly version?: number;
  readonly count: number;
  readonly why: string;
}

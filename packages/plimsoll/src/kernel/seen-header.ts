/** Carries causality tokens: a request may have several, separated by commas, an answer has one. */
export const seenHeader = 'plimsoll-seen';

/** Most tokens of one request. More than one is sent where answers came at the same time. */
export const maxSentTokens = 8;

/**
 * `plimsoll/views`: read models that are built from events and from nothing else.
 *
 * Guarantee: the rows of a view are exactly what the events up to its position make of them, whatever is killed when:
 * rows and position change in one transaction, and one builder at a time moves them. A changed version is built beside
 * the live one, which goes on, and is switched to at once. Who has written reads a view only once that shows it, from
 * whatever server.
 *
 * Authoritative: the log, `plimsoll.event`. A view can be dropped and built again.
 *
 * States of a table: building → live → retired; a table is dropped when somebody says so. See {@link TableState}.
 *
 * Not promised: that a reader who has written nothing sees what others wrote a moment ago; a view follows its events by
 * some milliseconds, and by as long as its builder is away. Nor that a view of another database is switched or dropped
 * in one transaction with what the log knows of it: the log may keep events for longer than needed, never shorter.
 *
 * On failure: a builder that dies rolls back and the next one goes on from the same position. An event that cannot be
 * applied stops its view in front of it, with the failure in `plimsoll views list`; other views go on. A reader whose
 * write is not applied in time gets PL_VIEW_LATE.
 */
export { view, type Apply, type Applying, type EventBatch, type FoldStep, type LoggedEvent } from './view.ts';
export { type On, type ReadEvent, type View, type ViewDefinition, type ViewEvent } from './view.ts';
export { type Column, type Columns, type ColumnType, type ColumnValues, type Row } from './columns.ts';
export { type KeyColumn, type KeyColumns, type ColumnValue } from './columns.ts';
export { createViewBuilder, viewBuilderDefaults, type Applied } from './builder.ts';
export { type ViewBuilder, type ViewBuilderOptions } from './builder.ts';
export { createViewReads, viewReadsDefaults, type CurrentOptions } from './reads.ts';
export { type ViewReads, type ViewReadsOptions, type ViewReadsState } from './reads.ts';
export { prepareViews, rebuildView } from './prepare.ts';
export { dropRetired, dropView, switchView, type Switched } from './switch.ts';
export { listViews, type ViewStatus } from './status.ts';
export { viewName, type PlacedView } from './place.ts';
export { type Databases, type TableState, type ViewFailure, type ViewTable } from './tables.ts';
export { viewMigrations } from './migrations.ts';

/**
 * A plain SQL table that refuses the past: the statements, to be run with the driver that you have. They are text and nothing
 * is run here. Written for PostgreSQL and SQLite (3.24 and newer); MySQL has no `ON CONFLICT ... WHERE`: take `lock`, compare,
 * `set`. Parameters are `$1` the name of the resource, `$2` the token.
 *
 * One row of a table of its own holds the highest token of each resource. A writer runs, in one transaction:
 *
 * 1. `raise`. **No row is affected: a higher token was there. Roll back; nothing was done.** Otherwise the row is locked until
 *    the transaction ends, so a writer with a higher token waits for this one's end, and no effect with a lower token can come
 *    behind one with a higher.
 * 2. Whatever it wants to do.
 * 3. Commit.
 *
 * The token is committed together with the data, so a crash forgets both or neither. It must run at READ COMMITTED or stricter; at
 * SERIALIZABLE a transaction that is refused for a conflict is run again from its beginning, with the same token. What has
 * to be guarded is every write to the resource, also that of tools and of people.
 *
 * For a single row with a column for the token, `UPDATE thing SET value = $3, fence = $2 WHERE id = $1 AND fence <= $2` does all
 * of it in one statement, with no row affected as refusal (or because there is no such row). A row that is deleted forgets
 * its token: mark it as deleted instead, or keep the token in the table below.
 */
export const guardSqlStatement = Object.freeze({
  /** Once. */
  create:
    'CREATE TABLE IF NOT EXISTS understudy_fence (resource VARCHAR(512) PRIMARY KEY, token BIGINT NOT NULL)',
  /** First of a transaction: one row affected, go on; none, roll back. Alone in one: what a new holder does before it reads. */
  raise:
    'INSERT INTO understudy_fence (resource, token) VALUES ($1, $2) ' +
    'ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE understudy_fence.token <= excluded.token',
  /** The highest token so far, for people, and for the refusal's message. `$1` only. */
  highest: 'SELECT token FROM understudy_fence WHERE resource = $1',
  /** Without `ON CONFLICT`, in this order: makes the row if it is not there (ignore a duplicate key), ... */
  insert: 'INSERT INTO understudy_fence (resource, token) VALUES ($1, 0)',
  /** ... locks it and gives the token to compare with: higher than `$2`, roll back ... */
  lock: 'SELECT token FROM understudy_fence WHERE resource = $1 FOR UPDATE',
  /** ... and raises it. */
  set: 'UPDATE understudy_fence SET token = $2 WHERE resource = $1',
})

// What is live beside the candles: the book and the last events.
import { $, fill, get, moment, nothing, number, table } from '/live/api.js'

const MOST = 12

export function book(source, symbol) {
  return fill($('book'), async () => {
    const rows = await get('/v1/live/book', {
      select: 'side,level,price,size,book_at,received_at', source_system: `eq.${source}`, symbol: `eq.${symbol}`,
      order: 'level', limit: 40,
    })
    if (!rows.length) return nothing('No whole order book of this symbol is here: `order_book` of its source in stream_shim/sources.yml asks for one.')
    const levels = {}
    for (const row of rows) (levels[row.level] ??= {})[row.side] = row
    const lines = Object.values(levels).map(({ bid = {}, ask = {} }) => [
      { text: number(bid.size), is: 'number' }, { text: number(bid.price), is: 'number bid' },
      { text: number(ask.price), is: 'number ask' }, { text: number(ask.size), is: 'number' },
    ])
    const made = table(['size', 'bid', 'ask', 'size'].map(text => ({ text, is: 'number' })), lines)
    made.append(nothing(`as of ${moment(rows[0].book_at ?? rows[0].received_at)}`))
    return made
  })
}

let shown = []

function line(row) {
  return [
    { text: moment(row.received_at) }, { text: row.series_id ?? row.event_publisher },
    { text: row.text_value ?? `${number(row.value)} ${row.unit ?? ''}` },
  ]
}

const draw = () => shown.length
  ? table([{ text: 'arrived' }, { text: 'series' }, { text: 'value' }], shown.map(line))
  : nothing('No event of the last days is here: `tidemark sources list` on the host says what the sources of events do.')

export function events() {
  return fill($('events'), async () => {
    const order = { order: 'received_at.desc', limit: MOST }
    const [numbers, texts] = await Promise.all([
      get('/v1/live/latest_numeric_events', order), get('/v1/live/latest_text_events', order),
    ])
    shown = [...numbers, ...texts.map(row => ({ ...row, text_value: row.value }))]
      .sort((one, other) => other.received_at.localeCompare(one.received_at)).slice(0, MOST)
    return draw()
  })
}

export function event(row) {
  shown = [row, ...shown].slice(0, MOST)
  $('events').replaceChildren(draw())
}

// The page: a key once, then the room; one stream for all that is live in it.
import { $, Refused, el, enter, get, leave, short, trouble } from '/live/api.js'
import { Candles } from '/live/chart.js'
import * as panels from '/live/panels.js'
import * as warehouse from '/live/warehouse.js'

const INTERVALS = ['1m', '5m', '1h', '1d']
const BOOK_MS = 2000
const AGAIN = 10000 // ms
const MINUTE = 60000 // ms
const ENDED = 'The key that was here has ended or was revoked: another one opens this page again.'
const chosen = { ticker: localStorage.getItem('ticker') ?? '', interval: localStorage.getItem('interval') ?? '1m' }
let candles, stream, timer, minute, waiting, listed

const state = (is, text) => { $('state').dataset.is = is; $('state').textContent = text }
const parts = ticker => [ticker.slice(0, ticker.indexOf(':')), ticker.slice(ticker.indexOf(':') + 1)]

const later = act => { clearTimeout(waiting); waiting = setTimeout(act, AGAIN) }

async function begin() {
  state('', 'connecting')
  try {
    const me = await get('/v1/me')
    $('who').textContent = me.name
    $('door').hidden = true
    $('room').hidden = $('leave').hidden = false
    await open()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.status === 401) return // `keyless` asks for one
    $('room').hidden = false
    wait(error.status === 404
      ? 'No mart of trades that your key may read is built yet: the first load or promotion builds them.' : error.message)
  }
}

// What is not here yet comes by itself, and so does what is away.
function wait(text) {
  state('away', 'trying again')
  trouble(text)
  later(begin)
}

async function open() {
  candles ??= new Candles($('chart'))
  await list()
  $('intervals').replaceChildren(...INTERVALS.map(name => {
    const made = el('button', { type: 'button', textContent: name })
    made.addEventListener('click', () => { chosen.interval = name; show() })
    return made
  }))
  panels.events()
  warehouse.coverage()
  warehouse.series()
  warehouse.runs()
  clearInterval(minute)
  minute = setInterval(() => document.hidden || refresh(), MINUTE)
  await show()
}

async function list() {
  const found = await get('/udf/search', { query: '', limit: 200 })
  const names = JSON.stringify(found.map(one => one.ticker))
  if (names === listed) return
  listed = names
  const ticker = $('symbol').value || chosen.ticker
  $('symbol').replaceChildren(...found.map(one => el('option', { value: one.ticker, textContent: short(one.ticker) })))
  if (found.some(one => one.ticker === ticker)) $('symbol').value = ticker
}

// What no event tells: new symbols, a day that has left, runs, and panels that were refused.
async function refresh() {
  try {
    await list()
    if (await candles.hasMoved()) {
      candles.again(true)
      warehouse.coverage()
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    trouble(error.message)
  }
  if ($('coverage').dataset.refused) warehouse.coverage()
  if ($('fanned').dataset.refused) warehouse.series()
  warehouse.runs()
}

async function show() {
  chosen.ticker = $('symbol').value
  localStorage.setItem('ticker', chosen.ticker)
  localStorage.setItem('interval', chosen.interval)
  for (const one of $('intervals').children) one.setAttribute('aria-pressed', one.textContent === chosen.interval)
  close()
  trouble('')
  if (!chosen.ticker) {
    return wait('No trade is here yet, or none that your key may read: `tidemark stream run` brings the first.')
  }
  const [source, symbol] = parts(chosen.ticker)
  listen(source, symbol) // before the bars are read, so that nothing falls between
  panels.book(source, symbol)
  timer = setInterval(() => document.hidden || panels.book(source, symbol), BOOK_MS)
  try {
    await candles.show(source, symbol, chosen.interval)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    trouble(error.message)
    candles.again()
  }
}

function close() {
  stream?.close()
  clearInterval(timer)
  clearTimeout(waiting)
}

function listen(source, symbol) {
  state('', 'connecting')
  const own = stream = new EventSource('/v1/stream?' + new URLSearchParams([
    ['channels', 'ticks,bars,events'], ['symbol', symbol], ['source', source],
  ]))
  const on = (name, act) => stream.addEventListener(name, ({ data }) => act(JSON.parse(data)))
  let end = ''
  on('begun', () => { end = ''; state('live', 'live') })
  on('tick', tick => candles.tick(tick))
  on('bar', bar => candles.bar(bar))
  on('changed', () => candles.again(true))
  on('event', row => panels.event(row))
  on('gap', () => { candles.again(true); panels.events() })
  on('away', () => state('away', 'the database does not answer'))
  on('back', () => { state('live', 'live'); panels.events() })
  on('end', ({ reason }) => { end = `: ${reason}` })
  own.addEventListener('error', () => {
    state('away', end ? `the stream has ended${end}` : 'the stream is away: trying again')
    if (own === stream && own.readyState === EventSource.CLOSED) later(begin) // refused: it asks no more by itself
  })
}

addEventListener('keyless', () => {
  close()
  clearInterval(minute)
  if (!$('room').hidden) $('refused').textContent = ENDED // of several refusals the first says it
  $('room').hidden = $('leave').hidden = true
  $('who').textContent = ''
  $('door').hidden = false
  $('key').focus()
})
$('door').addEventListener('submit', async event => {
  event.preventDefault()
  $('refused').textContent = ''
  try {
    await enter($('key').value.trim())
    $('key').value = ''
    await begin()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    $('refused').textContent = error.message
  }
})
$('leave').addEventListener('click', async () => { close(); await leave(); location.reload() })
$('symbol').addEventListener('change', show)
begin()

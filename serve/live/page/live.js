// The page: a key once, then the room; one stream for all that is live in it.
import { $, Refused, el, enter, get, leave } from '/live/api.js'
import { Candles } from '/live/chart.js'
import * as panels from '/live/panels.js'
import * as warehouse from '/live/warehouse.js'

const INTERVALS = ['1m', '5m', '1h', '1d']
const BOOK_MS = 2000
const AGAIN = 10000 // ms
const chosen = { ticker: localStorage.getItem('ticker') ?? '', interval: localStorage.getItem('interval') ?? '1m' }
let candles, stream, timer

const state = (is, text) => { $('state').dataset.is = is; $('state').textContent = text }
const parts = ticker => [ticker.slice(0, ticker.indexOf(':')), ticker.slice(ticker.indexOf(':') + 1)]

async function begin() {
  try {
    const me = await get('/v1/me')
    $('who').textContent = me.name
    $('door').hidden = true
    $('room').hidden = $('leave').hidden = false
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    if (error.status !== 401) $('refused').textContent = error.message
    $('door').hidden = false
    $('key').focus()
    return
  }
  await openOnce()
}

// Before the first build there is nothing to choose of; it comes by itself.
async function openOnce() {
  try {
    await open()
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    state('away', 'trying again')
    $('trouble').textContent = error.status === 404
      ? 'No mart of trades that your key may read is built yet: the first load or promotion builds them.' : error.message
    setTimeout(openOnce, AGAIN)
  }
}

async function open() {
  candles ??= new Candles($('chart'))
  const found = await get('/udf/search', { query: '', limit: 200 })
  $('symbol').replaceChildren(...found.map(one => el('option', { value: one.ticker, textContent: one.ticker })))
  if (found.some(one => one.ticker === chosen.ticker)) $('symbol').value = chosen.ticker
  $('intervals').replaceChildren(...INTERVALS.map(name => {
    const made = el('button', { type: 'button', textContent: name })
    made.addEventListener('click', () => { chosen.interval = name; show() })
    return made
  }))
  panels.events()
  warehouse.coverage()
  warehouse.series()
  warehouse.runs()
  await show()
}

async function show() {
  chosen.ticker = $('symbol').value
  localStorage.setItem('ticker', chosen.ticker)
  localStorage.setItem('interval', chosen.interval)
  for (const one of $('intervals').children) one.setAttribute('aria-pressed', one.textContent === chosen.interval)
  stream?.close()
  clearInterval(timer)
  $('trouble').textContent = ''
  if (!chosen.ticker) return void state('away', 'no symbol is here yet')
  const [source, symbol] = parts(chosen.ticker)
  listen(source, symbol) // before the bars are read, so that nothing falls between
  panels.book(source, symbol)
  timer = setInterval(() => document.hidden || panels.book(source, symbol), BOOK_MS)
  try {
    await candles.show(source, symbol, chosen.interval)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    $('trouble').textContent = error.message
  }
}

function listen(source, symbol) {
  state('', 'connecting')
  stream = new EventSource('/v1/stream?' + new URLSearchParams([
    ['channels', 'ticks,bars,events'], ['symbol', symbol], ['source', source],
  ]))
  const on = (name, act) => stream.addEventListener(name, ({ data }) => act(JSON.parse(data)))
  on('begun', () => state('live', 'live'))
  on('tick', tick => candles.tick(tick))
  on('bar', bar => candles.bar(bar))
  on('changed', () => candles.again())
  on('event', row => panels.event(row))
  on('gap', () => { candles.again(); panels.events() })
  on('away', () => state('away', 'the database does not answer'))
  on('back', () => state('live', 'live'))
  stream.addEventListener('error', () => state('away', 'the stream is away: trying again'))
}

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
$('leave').addEventListener('click', async () => { stream?.close(); await leave(); location.reload() })
$('symbol').addEventListener('change', show)
begin()

// Candles of a symbol: bars of the API, which cross the tidemark by its rule, and then what the stream says.
import { $, color, get, number, themed } from '/live/api.js'
import { Marks } from '/live/marks.js'

const STEPS = { '1m': 60, '5m': 300, '1h': 3600, '1d': 86400 }
const RESOLUTIONS = { '1m': '1', '5m': '5', '1h': '60', '1d': '1D' }
const COUNT = 300
const [LEAST, MOST] = [40, 120] // of them in sight at first
const AGAIN = 2000 // ms between two readings of bars that the stream does not have

const seconds = text => Math.floor(Date.parse(text) / 1000)
const iso = time => new Date(time * 1000).toISOString()
const candle = bar => ({
  time: seconds(bar.bar_start_at), open: bar.open, high: bar.high, low: bar.low, close: bar.close,
  is_final: bar.is_final,
})

// Behind the point, as many as the prices have.
const digits = bars => Math.min(8, Math.max(2,
  ...bars.map(bar => (String(bar.close).split('.')[1] ?? '').length)))

export class Candles {
  constructor(place) {
    this.chart = LightweightCharts.createChart(place, { autoSize: true })
    this.series = this.chart.addSeries(LightweightCharts.CandlestickSeries)
    this.marks = new Marks()
    this.series.attachPrimitive(this.marks)
    this.bars = []
    this.paint()
    themed(() => this.paint())
  }

  paint() {
    this.chart.applyOptions({
      layout: {
        background: { color: color('--ground') }, textColor: color('--ink'), attributionLogo: true,
      },
      grid: { vertLines: { color: color('--line') }, horzLines: { color: color('--line') } },
      timeScale: { timeVisible: true, borderColor: color('--line'), rightOffset: 4 },
      rightPriceScale: { borderColor: color('--line') },
    })
    const [up, down] = [color('--up'), color('--down')]
    this.series.applyOptions({
      upColor: up, downColor: down, wickUpColor: up, wickDownColor: down, borderVisible: false,
    })
  }

  async show(source, symbol, interval) {
    Object.assign(this, { source, symbol, interval })
    const asked = this.asked = {}
    this.isReady = false
    const [bars, tidemark] = await Promise.all([this.read(), this.readTidemark()])
    if (asked !== this.asked) return // another symbol was chosen meanwhile
    this.bars = bars
    this.tidemark = tidemark
    this.isReady = true
    const precision = digits(bars)
    this.series.applyOptions({ priceFormat: { type: 'price', precision, minMove: 10 ** -precision } })
    this.draw()
    const shown = Math.max(LEAST, Math.min(bars.length, MOST))
    this.chart.timeScale().setVisibleLogicalRange({ from: bars.length - shown, to: bars.length + 4 })
  }

  // The last bars that there are, however long ago.
  async read() {
    const { source, symbol, interval } = this
    const newest = await get('/udf/history', {
      symbol: `${source}:${symbol}`, resolution: RESOLUTIONS[interval], from: 1, to: 4102444800, countback: 1,
    })
    if (newest.s !== 'ok') return []
    const step = STEPS[interval]
    const to = newest.t[0] + 2 * step
    const bars = await get('/v1/bars', { source, symbol, interval, from: iso(to - COUNT * step), to: iso(to) })
    return bars.map(candle)
  }

  async readTidemark() {
    const [left] = await get('/v1/live/trimmed_days', {
      select: 'received_date', topic: 'eq.market_tick', order: 'received_date.desc', limit: 1,
    })
    return left ? seconds(`${left.received_date}T00:00:00Z`) + 86400 : null
  }

  draw() {
    this.series.setData(this.bars)
    this.marks.show(this.bars, this.tidemark)
    this.tell()
  }

  tell() {
    const last = this.bars.at(-1)
    $('last').value = last ? number(last.close) : ''
    $('hint').textContent = last ? '' : 'No trade of this symbol is here.'
    $('chart').dataset.bars = this.bars.length
    $('chart').dataset.close = last ? last.close : ''
    $('chart').dataset.symbol = this.symbol
    $('chart').dataset.tidemark = this.tidemark == null ? '' : iso(this.tidemark)
  }

  put(bar) {
    const at = this.bars.findIndex(other => other.time >= bar.time)
    if (at < 0) this.bars.push(bar)
    else if (this.bars[at].time === bar.time) this.bars[at] = bar
    else return this.again()
    if (at < 0 || at === this.bars.length - 1) {
      this.series.update(bar)
      this.marks.show(this.bars, this.tidemark)
      this.tell()
    } else this.draw()
  }

  // A trade moves the last candle at once; what the API computes of the bar replaces it.
  tick({ traded_at, price }) {
    if (!this.isReady || this.interval === '1d') return this.again()
    const time = Math.floor(seconds(traded_at) / STEPS[this.interval]) * STEPS[this.interval]
    const last = this.bars.at(-1)
    if (last && time < last.time) return this.again()
    if (!last || time > last.time) {
      return this.put({ time, open: price, high: price, low: price, close: price, is_final: false })
    }
    this.put({ ...last, high: Math.max(last.high, price), low: Math.min(last.low, price), close: price })
  }

  bar(bar) {
    if (this.isReady && this.interval === '1m') this.put(candle(bar))
    else this.again()
  }

  again() {
    this.timer ??= setTimeout(async () => {
      const asked = this.asked
      try {
        const bars = await this.read()
        if (asked === this.asked) { this.bars = bars; this.draw() }
      } finally { this.timer = null }
    }, AGAIN)
  }
}

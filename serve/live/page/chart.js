// Candles of a symbol: bars of the API, which cross the tidemark by its rule, and then what the stream says.
import { $, Refused, color, get, number, themed, trouble } from '/live/api.js'
import { Marks } from '/live/marks.js'

const STEPS = { '1m': 60, '5m': 300, '1h': 3600, '1d': 86400 }
const COUNT = 300
const [LEAST, MOST] = [40, 120] // of them in sight at first
const EARLIER = 20 // fewer of them than that left of what is in sight: those before them are read
const AGAIN = 2000 // ms between two readings of bars that the stream does not have
const LATER = 10000 // and after one that was refused

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
    this.chart.timeScale().subscribeVisibleLogicalRangeChange(range => {
      if (range && range.from < EARLIER) this.earlier()
    })
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
    Object.assign(this, { source, symbol, interval, asked: {}, isReady: false, isPlaced: false, earlierFrom: 0 })
    await this.load()
  }

  async load() {
    const { asked } = this
    const [bars, tidemark] = await Promise.all([this.readLast(), this.readTidemark()])
    if (asked !== this.asked) return // another symbol was chosen meanwhile
    Object.assign(this, { bars, tidemark, isReady: true, isWhole: false })
    const precision = digits(bars)
    this.series.applyOptions({ priceFormat: { type: 'price', precision, minMove: 10 ** -precision } })
    this.draw()
    if (this.isPlaced) return
    this.isPlaced = true
    const shown = Math.max(LEAST, Math.min(bars.length, MOST))
    this.chart.timeScale().setVisibleLogicalRange({ from: bars.length - shown, to: bars.length + 4 })
  }

  readLast() { return this.readBefore(4102444800) }

  // The last bars that there are before a moment, however long ago.
  async readBefore(end) {
    const { source, symbol, interval } = this
    const newest = await get('/udf/history', {
      symbol: `${source}:${symbol}`, resolution: '1', from: 1, to: end, countback: 1, // 1D goes by dates
    })
    if (newest.s !== 'ok') return []
    const step = STEPS[interval]
    const to = Math.min(newest.t[0] + 2 * step, end)
    const bars = await get('/v1/bars', { source, symbol, interval, from: iso(to - COUNT * step), to: iso(to) })
    return bars.map(candle)
  }

  // The bars left of those that are here, until there are none; asked for once, however often the sight moves.
  async earlier() {
    const { asked, bars: [first] } = this
    if (!this.isReady || this.isWhole || !first || this.reading === asked || Date.now() < this.earlierFrom) return
    this.reading = asked
    try {
      const bars = await this.readBefore(first.time)
      if (asked !== this.asked || first.time !== this.bars[0]?.time) return
      this.isWhole = !bars.length
      this.bars = [...bars, ...this.bars]
      trouble('')
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      this.earlierFrom = Date.now() + LATER // a move after that asks again
      return void trouble(error.message)
    } finally {
      if (this.reading === asked) this.reading = null
    }
    this.draw()
  }

  async readTidemark() {
    const [left] = await get('/v1/live/trimmed_days', {
      select: 'received_date', topic: 'eq.market_tick', order: 'received_date.desc', limit: 1,
    })
    return left ? seconds(`${left.received_date}T00:00:00Z`) + 86400 : null
  }

  // Whether a day has left the streaming database since.
  async hasMoved() {
    const { asked } = this
    return this.isReady && await this.readTidemark() !== this.tidemark && asked === this.asked
  }

  draw() {
    this.series.setData(this.bars)
    this.marks.show(this.bars, this.tidemark, this.isWhole)
    this.tell()
  }

  tell() {
    const last = this.bars.at(-1)
    $('last').value = last ? number(last.close) : ''
    $('hint').textContent = last ? '' : 'No trade of this symbol is here.'
    $('chart').dataset.bars = this.bars.length
    $('chart').dataset.whole = this.isWhole
    $('chart').dataset.first = this.bars.length ? iso(this.bars[0].time) : ''
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
      this.marks.show(this.bars, this.tidemark, this.isWhole)
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

  // Read the last bars anew, and forget the earlier ones where they may be others now.
  again(isAll = false) {
    this.isReady &&= !isAll
    this.timer ??= setTimeout(() => this.reread(), AGAIN)
  }

  async reread() {
    const { asked } = this
    this.timer = null
    try {
      if (!this.isReady) return await this.load()
      const bars = await this.readLast()
      if (asked !== this.asked) return
      this.bars = [...this.bars.filter(bar => bar.time < bars[0]?.time), ...bars]
      this.draw()
      trouble('')
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      trouble(error.message)
      this.timer ??= setTimeout(() => this.reread(), LATER)
    }
  }
}

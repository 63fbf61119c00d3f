// Drawn behind the candles: the line of the tidemark, and what is not final yet.
import { color } from '/live/api.js'

export class Marks {
  constructor() { this.bars = []; this.tidemark = null; this.isWhole = false }

  attached({ chart, requestUpdate }) { this.chart = chart; this.update = requestUpdate }
  detached() { this.chart = null }
  updateAllViews() {}
  paneViews() { return [{ zOrder: () => 'bottom', renderer: () => ({ draw: target => this.draw(target) }) }] }

  show(bars, tidemark, isWhole) {
    Object.assign(this, { bars, tidemark, isWhole })
    this.update?.()
  }

  x(index) { return this.chart.timeScale().logicalToCoordinate(index) }

  // The place between the last bar before the tidemark and the first after it; none while earlier bars may lie between.
  line() {
    if (this.tidemark == null || !this.bars.length) return null
    const first = this.bars.findIndex(bar => bar.time >= this.tidemark)
    if (first === 0 && !this.isWhole) return null
    return first < 0 ? this.bars.length : first
  }

  draw(target) {
    if (!this.chart || !this.bars.length) return
    const half = (this.x(1) - this.x(0)) / 2
    target.useBitmapCoordinateSpace(({ context, bitmapSize, horizontalPixelRatio: ratio }) => {
      context.fillStyle = color('--open')
      this.bars.forEach((bar, index) => {
        if (bar.is_final) return
        const x = this.x(index)
        context.fillRect((x - half) * ratio, 0, 2 * half * ratio, bitmapSize.height)
      })
      const line = this.line()
      if (line == null) return
      const x = (this.x(line) - half) * ratio
      context.strokeStyle = color('--mark')
      context.lineWidth = Math.max(1, Math.round(2 * ratio))
      context.setLineDash([6 * ratio, 4 * ratio])
      context.beginPath()
      context.moveTo(x, 0)
      context.lineTo(x, bitmapSize.height)
      context.stroke()
    })
  }
}

"""TradingView's UDF, as the charting library's own datafeed asks; OpenBB Workspace draws charts by it too."""

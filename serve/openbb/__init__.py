"""OpenBB Workspace: what it may draw of here, and the tables and charts that its widgets ask for."""

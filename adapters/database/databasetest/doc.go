// Package databasetest has real servers of MySQL and PostgreSQL; for tests only.
package databasetest

// Package database keeps apps in MySQL or PostgreSQL.
package database

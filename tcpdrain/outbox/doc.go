// SPDX-License-Identifier: MIT

// Package outbox is a durable FIFO on local disk, for messages that a slow or
// absent client has not acknowledged.
package outbox

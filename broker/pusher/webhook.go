package pusher

import (
	"strconv"
	"time"

	"github.com/playhead/playhead/broker"
)

// The headers of a webhook, beside its content type.
const (
	HeaderKey       = "X-Pusher-Key"
	HeaderSignature = "X-Pusher-Signature"
)

// WebhookContentType is the content type of a webhook, without parameters: Pusher's Node library
// refuses any.
const WebhookContentType = "application/json"

// What webhooks tell.
const (
	WebhookChannelOccupied   = "channel_occupied"
	WebhookChannelVacated    = "channel_vacated"
	WebhookMemberAdded       = "member_added"
	WebhookMemberRemoved     = "member_removed"
	WebhookClientEvent       = "client_event"
	WebhookCacheMiss         = "cache_miss"
	WebhookSubscriptionCount = "subscription_count"
)

// WebhookGroup returns the group of events that an event of a webhook belongs to, as endpoints are
// subscribed to them at Pusher; "" for what is no such event.
func WebhookGroup(name string) string {
	switch name {
	case WebhookChannelOccupied, WebhookChannelVacated:
		return "channel_existence"
	case WebhookMemberAdded, WebhookMemberRemoved:
		return "presence"
	case WebhookClientEvent:
		return "client_events"
	case WebhookCacheMiss:
		return "cache_channels"
	case WebhookSubscriptionCount:
		return "subscription_count"
	}
	return ""
}

// WebhookName returns what a webhook calls a notice; "" when webhooks don't tell of its kind.
func WebhookName(kind broker.NoticeKind) string {
	switch kind {
	case broker.ChannelOccupied:
		return WebhookChannelOccupied
	case broker.ChannelVacated:
		return WebhookChannelVacated
	case broker.MemberAdded:
		return WebhookMemberAdded
	case broker.MemberRemoved:
		return WebhookMemberRemoved
	case broker.CacheMiss:
		return WebhookCacheMiss
	case broker.SubscriptionCount:
		return WebhookSubscriptionCount
	}
	return ""
}

// AppendWebhookNotice adds what a webhook says of a notice, one of its events. The notice's kind
// must have a [WebhookName].
func AppendWebhookNotice(b []byte, n *broker.Notice) []byte {
	b = appendWebhookEvent(b, WebhookName(n.Kind), n.Channel)
	switch n.Kind {
	case broker.MemberAdded, broker.MemberRemoved:
		b = append(b, `,"user_id":`...)
		b = appendString(b, n.Member.UserID)
	case broker.SubscriptionCount:
		b = append(b, `,"subscription_count":`...)
		b = strconv.AppendInt(b, int64(n.Count), 10)
	}
	return append(b, '}')
}

// AppendWebhookClientEvent adds what a webhook says of a client event, one of its events. All
// values are strings: the Go and .NET libraries decode them so.
func AppendWebhookClientEvent(b []byte, e *broker.Event) []byte {
	b = appendWebhookEvent(b, WebhookClientEvent, e.Channel)
	b = append(b, `,"event":`...)
	b = appendString(b, e.Name)
	b = append(b, `,"data":`...)
	b = appendQuoted(b, e.Data)
	b = append(b, `,"socket_id":`...)
	b = appendString(b, string(e.Exclude))
	if e.UserID != "" && KindOf(e.Channel).Presence() {
		b = append(b, `,"user_id":`...)
		b = appendString(b, e.UserID)
	}
	return append(b, '}')
}

func appendWebhookEvent(b []byte, name string, ch broker.Channel) []byte {
	b = append(b, `{"name":`...)
	b = appendString(b, name)
	b = append(b, `,"channel":`...)
	return appendString(b, string(ch))
}

// AppendWebhook adds the body of a webhook that was made at the given time and tells of events.
// Libraries refuse one that is older than five minutes.
func AppendWebhook(b []byte, at time.Time, events [][]byte) []byte {
	b = append(b, `{"time_ms":`...)
	b = strconv.AppendInt(b, at.UnixMilli(), 10)
	b = append(b, `,"events":[`...)
	for i, e := range events {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, e...)
	}
	return append(b, "]}"...)
}

// SignWebhook returns the signature of a webhook over exactly the body that is sent.
func SignWebhook(c broker.Credential, body []byte) string {
	var sum [signatureBytes]byte
	return string(sign(sum[:0], c.Secret, body))
}

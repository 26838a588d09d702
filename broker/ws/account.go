package ws

import (
	"context"

	"github.com/playhead/playhead/broker"
	"github.com/playhead/playhead/broker/presence"
	"github.com/playhead/playhead/broker/pusher"
)

// account is the user that a connection is signed in as, for as long as it lives.
type account struct {
	user  pusher.User // without its watchlist, which the login has
	login *presence.Login
}

// signIn makes the connection one of a user's. Order of effects: from the sign-in on the connection
// can be terminated and its user is online, then it is answered, and then it hears of those it
// watches. A client that signs in again as the same user is answered again, and with another
// watchlist from then on watches those.
func (s *session) signIn(ctx context.Context, f pusher.Frame) {
	q, err := f.SignIn()
	if err == nil {
		err = pusher.VerifyUser(s.signer(ctx, q.Auth), q.Auth, s.id, q.UserData)
	}
	var user pusher.User
	if err == nil {
		user, err = pusher.ReadUser(q.UserData, s.app.Limits)
	}
	switch {
	case err != nil:
		s.complain(pusher.CodeNone, err.Error())
		return
	case s.account != nil && s.account.user.ID != user.ID:
		s.complain(pusher.CodeNone, pusher.AlreadySignedIn(s.account.user.ID))
		return
	case !s.vouch():
		return
	case s.account == nil:
		s.account = &account{login: s.server.cfg.Presence.SignIn(s.app.ID, user.ID, s)}
	}
	watchlist := user.Watchlist
	user.Watchlist = nil
	s.account.user = user
	s.send(textFrame(pusher.AppendSignInSuccess(reserve(128+2*len(q.UserData)), q.UserData)))
	if !s.app.Watchlist {
		return
	}
	if user.WatchlistCut {
		s.complain(pusher.CodeWatchlistLimit, pusher.CodeWatchlistLimit.Text())
	}
	s.account.login.Watch(watchlist)
}

// signOut ends the login, if there is one.
func (s *session) signOut() {
	if s.account != nil {
		s.account.login.SignOut()
		s.account = nil
	}
}

// owns reports whether the connection is signed in as the user whose own channel ch is.
func (s *session) owns(ch broker.Channel) bool {
	id, ok := pusher.UserOf(ch)
	return ok && s.account != nil && s.account.user.ID == id
}

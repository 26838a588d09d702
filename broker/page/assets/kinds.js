// Kinds of channels, by the longest prefix that a name begins with.

export const kinds = [
  { prefix: 'private-encrypted-cache-', name: 'Encrypted cache', auth: true, encrypted: true, cache: true },
  { prefix: 'private-encrypted-', name: 'Encrypted', auth: true, encrypted: true },
  { prefix: 'private-cache-', name: 'Private cache', auth: true, cache: true, clientEvents: true },
  { prefix: 'private-', name: 'Private', auth: true, clientEvents: true },
  { prefix: 'presence-cache-', name: 'Presence cache', auth: true, presence: true, cache: true, clientEvents: true },
  { prefix: 'presence-', name: 'Presence', auth: true, presence: true, clientEvents: true },
  { prefix: 'cache-', name: 'Cache', cache: true },
  { prefix: '#server-to-user-', name: 'User', own: true },
  { prefix: '', name: 'Public' },
];

export function kindOf(channel) {
  return kinds.find((kind) => channel.startsWith(kind.prefix));
}

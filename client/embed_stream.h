#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/item.h"

namespace vitower {

class ClientStreamCall;

struct StreamOptions {
  // Items written and not yet read: Write waits above it. More hides more of the way to the server and back, and takes
  // more memory on both sides. Useful up to ServedModel::max_stream_items.
  int64_t max_items = 64;
  // An item larger than this goes in parts. At most what the server takes in one message;
  // ServedModel::stream_chunk_bytes.
  int64_t chunk_bytes = 3 << 20;
  // Of the whole stream: when it comes, the stream ends with DEADLINE_EXCEEDED.
  std::chrono::system_clock::time_point deadline = std::chrono::system_clock::time_point::max();
  std::string request_id{};  // for the server's log; empty: the server chooses one
  // How often in a row, without an answer in between, the stream may end with UNAVAILABLE (the server drains, or the
  // connection broke) until that is its end, and how often an item is sent until an answer of UNAVAILABLE, or such an
  // end of the stream, is its answer: it may be the one that breaks the stream. Before that the stream is opened again
  // and what was not answered is sent again, after a pause of 50 ms that doubles. Above 1 the items in flight are held
  // here, too. An item may then be computed more than once and is still answered once; the servers are taken to serve
  // the same weights.
  int attempts = 1;
};

// One item's answer: its key and its result, put together from all its parts.
struct StreamAnswer {
  uint64_t key = 0;
  EmbedResult result;
};

// Many items on one stream, answered in the order of completion.
//
// For two threads: one that writes and one that reads (Cancel may come from any). Write waits while max_items are in
// flight or the server does not read on, Read until an answer is there: a single thread that does both must stop
// writing before max_items are unread. Nothing is read ahead of Read, so a client that does not read pushes back on the
// server. However the stream ends, Read tells why: Write only says CANCELLED. What is unread when it ends badly has no
// answer. The destructor cancels and waits for gRPC to let go; it must not run while another thread is inside a call.
class EmbedStream final {
 public:
  using TimePoint = std::chrono::system_clock::time_point;

  ~EmbedStream();
  EmbedStream(const EmbedStream&) = delete;
  EmbedStream& operator=(const EmbedStream&) = delete;

  // `key` is the caller's and comes back with the answer. INVALID_ARGUMENT where an item of that key is in flight or
  // the item is above protobuf's 2 GiB; CANCELLED where the stream has ended.
  absl::Status Write(uint64_t key, EmbedItem item);
  // Likewise an item, not null, that the caller goes on using, to send it again, say. It is sent from where it lies: it
  // must not change until the last reference to it has gone.
  absl::Status Write(uint64_t key, std::shared_ptr<const EmbedItem> item);

  // Like Write, but where max_items are in flight it returns false at once and leaves `item` as it was.
  absl::StatusOr<bool> TryWrite(uint64_t key, EmbedItem& item);

  // No more items: the server finishes what it has and ends the stream. For the writing thread; idempotent.
  void WritesDone();

  // The next answer. Nothing once all is answered and the stream has ended well; its status where it ended otherwise,
  // INTERNAL where the server broke the rules of the protocol. DEADLINE_EXCEEDED where `until` came before an answer:
  // the stream goes on and Read may be called again.
  absl::StatusOr<std::optional<StreamAnswer>> Read(TimePoint until = TimePoint::max());

  // Gives up what is in flight: Write and Read return CANCELLED.
  void Cancel();

 private:
  friend class Client;
  class Impl;
  using OpenCall = std::function<std::unique_ptr<ClientStreamCall>()>;
  EmbedStream(const StreamOptions& options, OpenCall open);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace vitower

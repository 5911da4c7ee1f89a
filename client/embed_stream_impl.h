#pragma once
// private header

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "client/answer_assembler.h"
#include "client/client_stream_call.h"
#include "client/embed_stream.h"
#include "client/item_wire.h"

namespace vitower {

// A stream is one call after another; each but the last ended with UNAVAILABLE. The reading thread opens the next one,
// and a thread of its own sends on it what is unanswered, since the reader must not wait for the server to read.
class EmbedStream::Impl {
 public:
  Impl(const StreamOptions& options, OpenCall open)
      : max_items_(static_cast<size_t>(std::max<int64_t>(options.max_items, 1))),
        chunk_bytes_(static_cast<size_t>(std::max<int64_t>(options.chunk_bytes, 1))),
        deadline_(options.deadline),
        attempts_(options.attempts),
        open_(std::move(open)),
        call_(open_()) {}

  ~Impl() { Cancel(); }

  // True: `key` is in flight now. False: there is no room, and it was not to be waited for.
  absl::StatusOr<bool> Enter(uint64_t key, bool wait);
  absl::Status Send(uint64_t key, std::shared_ptr<const EmbedItem> item);
  absl::StatusOr<std::optional<StreamAnswer>> Read(TimePoint until);
  void WritesDone();
  void Cancel();

 private:
  using Call = std::shared_ptr<ClientStreamCall>;

  struct Flying {
    std::shared_ptr<const EmbedItem> item;  // unset: it is sent only once
    int64_t call_number = 0;                // of the call it was sent on; 0: it is to be sent
    int sends = 0;
    TimePoint due{};  // not to be sent again before
  };

  struct Due {
    std::optional<uint64_t> key;
    bool half_close = false;
  };

  static bool SendOn(ClientStreamCall& call, StreamItemWire item);
  void StartSendingAgain();
  void StopSendingAgain();
  void SendAgain(int64_t call_number);
  Due AwaitDue(int64_t call_number);
  std::shared_ptr<const EmbedItem> Claim(uint64_t key, int64_t call_number);
  void TakeBack(uint64_t key, bool counts);
  bool TryItemAgain(uint64_t key);
  absl::StatusOr<std::optional<StreamAnswer>> TakeAnswer(v1::EmbedStreamResponse message);
  bool HasUnsent() const;
  bool OpenAgain();
  void GiveUp(const absl::Status& status);
  bool MayOpenAgain(const absl::Status& end);
  absl::StatusOr<std::optional<StreamAnswer>> TakeEnd();
  absl::Status Fail(absl::Status broken);
  bool Leave(uint64_t key);  // false: it was not in flight
  Call call() const;

  const size_t max_items_;
  const size_t chunk_bytes_;
  const TimePoint deadline_;
  const int attempts_;
  const OpenCall open_;

  AnswerAssembler assembler_;          // of the reading thread
  absl::Status broken_;                // of the reading thread: how the server broke the protocol
  std::deque<StreamAnswer> given_up_;  // of the reading thread
  int failures_ = 0;                   // of the reading thread: calls that have ended since the last answer

  std::mutex send_mu_;  // held while an item is written with all its parts, and to change the call; taken before mu_

  mutable std::mutex mu_;
  std::condition_variable changed_;
  // Guarded by mu_.
  Call call_;
  int64_t call_number_ = 1;
  std::map<uint64_t, Flying> in_flight_;
  bool sends_again_ = false;  // sending_again_ is at work, and the half-close is its affair
  bool stop_sending_again_ = false;
  bool writes_done_ = false;
  bool cancelled_ = false;
  bool ended_ = false;

  std::jthread sending_again_;  // last: joined before the rest goes
};

}  // namespace vitower

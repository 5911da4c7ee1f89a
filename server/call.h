// private header
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "server/clock.h"
#include "server/mutex.h"
#include "server/stage.h"
#include "server/status.h"
#include "vitower/v1/vitower.pb.h"

namespace vitower {

// How one item ended.
struct ItemAnswer {
  v1::Result result;
  StageTimes times;
  TimePoint encode_from;  // the download's end, or the moment the item failed: where its encode stage begins
};

// One Embed call: collects the answers of its items and completes when the last one is in. Shared by its jobs and by
// whoever sends the reply. Thread-safe; never blocks. `on_complete` runs once, without a lock, on the thread that
// brought the last answer or sealed the call.
class Call final {
 public:
  struct Start {
    std::string request_id;
    TimePoint started_at;
    TimePoint parsed_at;
    TimePoint deadline;     // TimePoint::max() where the client set none
    bool in_parts = false;  // how the reply is sent: --max-reply-bytes does not hold for it
  };

  Call(Start start, v1::EmbedRequest request, std::function<void()> on_complete);

  const Start& start() const { return start_; }
  const v1::EmbedRequest& request() const { return request_; }
  const std::vector<std::string_view>& kinds() const { return kinds_; }

  // As it came. Only the owner of the item's job may ask.
  v1::Item& item(size_t index) { return *request_.mutable_items(static_cast<int>(index)); }
  // An item's source, taken out of the request without a copy; nothing the second time. Only the owner of the item's
  // job may ask.
  v1::Item TakeItem(size_t index);

  // How large the reply will be: set before jobs are handed out, corrected by them where a clip turns out other than
  // its header said. Returns the new sum.
  int64_t AddReplyBytes(int64_t change) { return reply_bytes_.fetch_add(change) + change; }

  void Cancel() { cancelled_.store(true, std::memory_order_release); }
  // The client hears no answer any more: its deadline has passed or it cancelled.
  std::optional<Fault> ClientGone(TimePoint now) const;
  // Why work on an item of this call would be in vain, if it would: as above, or the item is answered already.
  std::optional<Fault> Gone(TimePoint now) const;

  // Until this is called the call does not complete, whatever is answered: who hands out its jobs calls it afterwards.
  // Never called for a call that is refused whole.
  void Seal();
  // Ignored for an item that has been answered by Abort.
  void Answer(size_t index, ItemAnswer answer);
  // Answers every item that is not answered yet with `status`; false where there is none.
  bool Abort(const absl::Status& status, TimePoint now);

  // REQUIRES: the call is complete.
  std::vector<ItemAnswer>& answers() ABSL_NO_THREAD_SAFETY_ANALYSIS { return answers_; }

 private:
  void Store(size_t index, ItemAnswer answer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Start start_;
  std::vector<std::string_view> kinds_;
  v1::EmbedRequest request_;  // after construction each item is touched by the owner of its job only
  const std::function<void()> on_complete_;

  std::atomic<bool> cancelled_{false};
  std::atomic<bool> closed_{false};  // every item is answered
  std::atomic<int64_t> reply_bytes_{0};

  Mutex mu_;
  std::vector<ItemAnswer> answers_ ABSL_GUARDED_BY(mu_);  // each is written once, before `answered_` says so
  std::vector<bool> answered_ ABSL_GUARDED_BY(mu_);
  size_t missing_ ABSL_GUARDED_BY(mu_);  // answers, and Seal
};

void SetTimes(const StageTimes& times, v1::StageTimes& out);
// An answer that says only why there are no outputs, and how far the item came.
ItemAnswer FailedAnswer(const absl::Status& status, const StageTimes& times, TimePoint now);

}  // namespace vitower

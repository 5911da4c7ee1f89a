#include <utility>

#include "server/embed_stream.h"

namespace vitower {

// On the thread that brought the answer.
void EmbedStreamReactor::OnAnswered(uint64_t key) {
  Item item;
  {
    MutexLock lock(mu_);
    item = std::move(items_.extract(key).mapped());
  }
  const std::shared_ptr<Call> call = item.call;
  const absl::Status queued = Guarded(kMethod, request_id_, [&] { return Enqueue(key, std::move(item)); });
  if (!queued.ok()) End(queued);
  rpc_.lifecycle.Leave(*call);
  Drive();
}

absl::Status EmbedStreamReactor::Enqueue(uint64_t key, Item item) {
  ItemAnswer& answer = item.call->answers()[0];
  const TimePoint now = rpc_.clock.Now();
  rpc_.metrics.CountItem(item.call->kinds()[0], static_cast<absl::StatusCode>(answer.result.status().code()));
  answer.times.Set(Stage::kEncode, now - answer.encode_from);
  ObserveStages(answer.times, rpc_.metrics);
  item.permit.ReleaseItems();
  const Need left = item.permit.held();
  const auto chunk_bytes = static_cast<int64_t>(rpc_.model_info.limits().stream_chunk_bytes());
  Answered answered{key, AnswerWire(key, std::move(answer.result), chunk_bytes), std::move(item.permit), left, now};
  MutexLock lock(mu_);
  if (end_) return absl::OkStatus();  // freed after the lock is
  window_.Hold(item.held, left);
  outbox_.push_back(std::move(answered));
  return absl::OkStatus();
}

void EmbedStreamReactor::Write() {
  const absl::Status built = Guarded(kMethod, request_id_, [this] {
    MutexLock lock(mu_);
    if (!sending_) {
      sending_.emplace(std::move(outbox_.front()));
      outbox_.pop_front();
    }
    outgoing_ = sending_->wire.Next();
    if (sending_->wire.done()) keys_.erase(sending_->key);  // the client may use it again before OnWriteDone
    taken_.Begin(rpc_.stalls, [self = shared_from_this(), call = Hold(context_)] {
      self->OnStall(call, "took nothing of an answer");
    });
    return absl::OkStatus();
  });
  if (built.ok()) {
    rpc_.metrics.CountSent(static_cast<int64_t>(outgoing_.Length()));
    return StartWrite(&outgoing_);
  }
  {
    MutexLock lock(mu_);
    writing_ = false;
  }
  End(built);
}

}  // namespace vitower

#include "server/call.h"

#include <utility>

#include "server/item_check.h"

namespace vitower {

Call::Call(Start start, v1::EmbedRequest request, std::function<void()> on_complete)
    : start_(std::move(start)), request_(std::move(request)), on_complete_(std::move(on_complete)) {
  const auto count = static_cast<size_t>(request_.items_size());
  answers_.resize(count);
  answered_.resize(count, false);
  missing_ = count + 1;
  for (size_t i = 0; i < count; ++i) {
    const v1::Item& item = request_.items(static_cast<int>(i));
    kinds_.push_back(ItemKind(item));
    answers_[i].result.set_id(item.id());
  }
}

v1::Item Call::TakeItem(size_t index) {
  v1::Item item;
  item.Swap(request_.mutable_items(static_cast<int>(index)));
  return item;
}

std::optional<Fault> Call::Gone(TimePoint now) const {
  if (closed_.load(std::memory_order_acquire)) return Fault::kAbandoned;
  return ClientGone(now);
}

std::optional<Fault> Call::ClientGone(TimePoint now) const {
  if (now >= start_.deadline) return Fault::kExpired;
  if (cancelled_.load(std::memory_order_acquire)) return Fault::kCancelled;
  return std::nullopt;
}

void Call::Seal() {
  bool last = false;
  {
    MutexLock lock(mu_);
    last = --missing_ == 0;
  }
  if (last) on_complete_();
}

void Call::Answer(size_t index, ItemAnswer answer) {
  bool last = false;
  {
    MutexLock lock(mu_);
    if (answered_[index]) return;
    Store(index, std::move(answer));
    last = missing_ == 0;
  }
  if (last) on_complete_();
}

bool Call::Abort(const absl::Status& status, TimePoint now) {
  bool last = false;
  {
    MutexLock lock(mu_);
    closed_.store(true, std::memory_order_release);
    if (missing_ == 0) return false;
    for (size_t i = 0; i < answers_.size(); ++i) {
      if (!answered_[i]) Store(i, FailedAnswer(status, {}, now));
    }
    last = missing_ == 0;
  }
  if (last) on_complete_();
  return true;
}

void Call::Store(size_t index, ItemAnswer answer) {
  answer.result.set_id(answers_[index].result.id());
  answers_[index] = std::move(answer);
  answered_[index] = true;
  --missing_;
}

void SetTimes(const StageTimes& times, v1::StageTimes& out) {
  out.set_receive_seconds(times.seconds(Stage::kReceive));
  out.set_admit_seconds(times.seconds(Stage::kAdmit));
  out.set_decode_seconds(times.seconds(Stage::kDecode));
  out.set_resize_seconds(times.seconds(Stage::kResize));
  out.set_queue_seconds(times.seconds(Stage::kQueue));
  out.set_upload_seconds(times.seconds(Stage::kUpload));
  out.set_patch_embed_seconds(times.seconds(Stage::kPatchEmbed));
  out.set_position_seconds(times.seconds(Stage::kPosition));
  out.set_blocks_seconds(times.seconds(Stage::kBlocks));
  out.set_merger_seconds(times.seconds(Stage::kMerger));
  out.set_download_seconds(times.seconds(Stage::kDownload));
}

ItemAnswer FailedAnswer(const absl::Status& status, const StageTimes& times, TimePoint now) {
  ItemAnswer answer;
  answer.result.mutable_status()->set_code(static_cast<uint32_t>(status.code()));
  answer.result.mutable_status()->set_message(std::string(status.message()));
  SetTimes(times, *answer.result.mutable_times());
  answer.times = times;
  answer.encode_from = now;
  return answer;
}

}  // namespace vitower

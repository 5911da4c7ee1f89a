#include "server/stream_uploads.h"

#include <utility>

#include "server/text.h"

namespace vitower {

StreamUploads::Added StreamUploads::Add(StreamRequest& part, TimePoint received_at, bool insist) {
  if (std::string broken = BrokenRule(part); !broken.empty()) return {Added::Outcome::kBroken, {}, std::move(broken)};
  if (!Has(part.key) && !Begin(part, received_at, insist)) return {Added::Outcome::kNoRoom};
  Upload& upload = uploads_[part.key];
  upload.received += part.payload_bytes;
  if (!upload.whole.refused) {
    for (grpc::Slice& slice : part.payload) upload.whole.bytes.push_back(std::move(slice));
  }
  if (upload.received < part.part_total) return {Added::Outcome::kMore};
  return {Added::Outcome::kWhole, End(part.key)};
}

std::string StreamUploads::BrokenRule(const StreamRequest& part) const {
  const std::string prefix = Cat("part of the item with key ", part.key, ": ");
  const auto found = uploads_.find(part.key);
  if (found == uploads_.end()) {
    if (std::string broken = BrokenFirst(part); !broken.empty()) return prefix + broken;
  }
  const uint64_t received = found == uploads_.end() ? 0 : found->second.received;
  const uint64_t total = found == uploads_.end() ? part.part_total : static_cast<uint64_t>(found->second.whole.total);
  if (part.part_total != total) {
    return Cat(prefix, "total is ", part.part_total, "; the first part of the item said ", total);
  }
  if (part.part_offset != received) {
    return Cat(prefix, "offset is ", part.part_offset, "; ", received, " bytes of the item came before it");
  }
  if (part.payload_bytes <= total - received) return "";
  return Cat(prefix, "data has ", part.payload_bytes, " bytes at offset ", received, ", more than the total of ",
             total);
}

std::string StreamUploads::BrokenFirst(const StreamRequest& part) const {
  if (part.part_total == 0) return "total is 0; it must be at least 1";
  if (part.part_total > static_cast<uint64_t>(limits_.max_bytes)) {
    return Cat("total is ", part.part_total, ", above the limit of ", limits_.max_bytes, " (--max-request-bytes)");
  }
  if (count() < limits_.max_count) return "";
  return Cat(count(), " items of the stream are incomplete, the limit is ", limits_.max_count, " (--max-stream-items)");
}

std::variant<Permit, Refusal> StreamUploads::RoomFor(int64_t total) const {
  if (uploads_.empty() || held_bytes_ + total <= limits_.max_held_bytes) return reserve_(total);
  return Refusal{Fault::kBytesFull,
                 Cat("the stream's incomplete items hold ", held_bytes_, " bytes, the item has ", total,
                     ", the limit (half of --max-inflight-bytes) is ", limits_.max_held_bytes)};
}

bool StreamUploads::Begin(const StreamRequest& part, TimePoint received_at, bool insist) {
  Upload upload;
  upload.whole.total = static_cast<int64_t>(part.part_total);
  upload.whole.begun_at = received_at;
  std::variant<Permit, Refusal> room = RoomFor(upload.whole.total);
  if (Refusal* refusal = std::get_if<Refusal>(&room)) {
    if (!insist && refusal->fault != Fault::kCallTooLarge) return false;
    upload.whole.refused = std::move(*refusal);
  } else {
    upload.room = std::move(std::get<Permit>(room));
    held_bytes_ += upload.whole.total;
  }
  uploads_.emplace(part.key, std::move(upload));
  return true;
}

// Gives the room back: the item asks for it again, with what else it needs.
StreamUploads::Whole StreamUploads::End(uint64_t key) {
  const auto found = uploads_.find(key);
  Whole whole = std::move(found->second.whole);
  if (!whole.refused) held_bytes_ -= whole.total;
  uploads_.erase(found);
  return whole;
}

void StreamUploads::Clear() {
  uploads_.clear();
  held_bytes_ = 0;
}

}  // namespace vitower

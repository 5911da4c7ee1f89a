// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>

#include "absl/status/status.h"
#include "server/admission.h"
#include "server/call.h"
#include "server/lifecycle.h"
#include "server/mutex.h"
#include "server/result_wire.h"
#include "server/rpc.h"
#include "server/stream_request.h"
#include "server/stream_uploads.h"
#include "server/stream_window.h"

namespace vitower {

// One EmbedStream on gRPC's side. Each item becomes a Call of its own, whose answer is sent when it completes.
//
// States: open (reads while the StreamWindow is open and nothing is parked) -> closing (the client has half-closed, or
// the server drains: reads no more, answers what is inside) -> ended (a status is set; nothing more is sent, what has
// not started is cancelled) -> finished (gRPC has the status). A broken rule, a cancellation or a dead client lead to
// ended at once. An item that finds no room while the stream itself holds some is parked, and nothing is read, until
// enough of the stream's own has left to try again: a stream alone is never refused for lack of room.
//
// Thread-safe: gRPC's reactions, completing calls and a drain may meet. Whoever changes something calls Drive, which
// does what the new state asks for; one thread at a time is inside it, the only one that starts operations of gRPC's,
// and it holds no lock then. Never blocks. Owned by gRPC until OnDone and by the calls that are in flight.
class EmbedStreamReactor final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                                 public Drainable,
                                 public std::enable_shared_from_this<EmbedStreamReactor> {
 public:
  // What gRPC takes from the handler.
  static EmbedStreamReactor* Start(const Rpc& rpc, grpc::CallbackServerContext& context);

  EmbedStreamReactor(const Rpc& rpc, grpc::CallbackServerContext& context);

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  void OnDrain() override;

 private:
  struct Item {
    std::shared_ptr<Call> call;
    Permit permit;
    Need held;  // of the permit, as the window counts it
  };
  struct Answered {
    uint64_t key = 0;
    AnswerWire wire;
    Permit permit;
    Need held;
    TimePoint ready_at;
  };
  // An item, or the first part of one, that waits for room.
  struct Parked {
    uint64_t key = 0;
    std::shared_ptr<Call> call;         // empty for a part
    std::optional<StreamRequest> part;  // empty for an item
    TimePoint received_at;
    int64_t bytes = 0;
    int64_t retry_at = 0;  // permits that the stream holds
  };
  static constexpr char kMethod[] = "EmbedStream";
  enum class Action { kNone, kUnpark, kWrite, kRead, kFinish };

  void Open();

  // The reading side: run by OnReadDone and, for what was parked, by the driver, never both at once.
  absl::Status Receive(TimePoint received_at);
  absl::Status CheckHalfClose();
  absl::Status TakePart(StreamRequest part, TimePoint received_at);
  void TakeItem(uint64_t key, const StreamUploads::Whole& whole);
  std::shared_ptr<Call> NewCall(uint64_t key, v1::EmbedRequest request, TimePoint received_at);
  void Settle(uint64_t key, const std::shared_ptr<Call>& call, int64_t request_bytes, std::optional<Refusal> refusal);
  void Accept(uint64_t key, const std::shared_ptr<Call>& call, int64_t request_bytes);
  void Refuse(Call& call, const Refusal& refusal);
  void Park(Parked parked);
  void Unpark();
  void Drop(Call& call);
  bool InFlight(uint64_t key) const;
  bool HoldsNothing() const;
  absl::Status RuleBroken(const std::string& rule);

  void OnStall(const std::shared_ptr<grpc_call>& call, std::string_view what);

  void OnAnswered(uint64_t key);
  absl::Status Enqueue(uint64_t key, Item item);
  void End(const absl::Status& status);
  absl::Status GoneStatus() const;

  void Drive();
  Action Next();
  bool MayRead() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool AllSent() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Read();
  void Write();
  absl::Status EndStatus() const;

  const Rpc& rpc_;
  grpc::CallbackServerContext& context_;  // until OnDone
  const TimePoint started_at_;
  const TimePoint deadline_;
  const std::string request_id_;
  std::shared_ptr<EmbedStreamReactor> self_;  // until OnDone

  // Of the reading side.
  grpc::ByteBuffer incoming_;
  StreamUploads uploads_;
  StallWatch::Wait rest_;  // for more of the items that are incomplete

  // Of the driver that set writing_, then of OnWriteDone.
  std::optional<Answered> sending_;
  grpc::ByteBuffer outgoing_;
  StallWatch::Wait taken_;  // for the client to take it

  mutable Mutex mu_;
  bool driving_ ABSL_GUARDED_BY(mu_) = false;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;  // until what was read is dealt with
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  bool half_closed_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<absl::Status> end_ ABSL_GUARDED_BY(mu_);
  StreamWindow window_ ABSL_GUARDED_BY(mu_);
  std::unordered_set<uint64_t> keys_ ABSL_GUARDED_BY(mu_);  // of complete items, until their last message is written
  std::map<uint64_t, Item> items_ ABSL_GUARDED_BY(mu_);     // not yet answered
  std::deque<Answered> outbox_ ABSL_GUARDED_BY(mu_);
  std::optional<Parked> parked_ ABSL_GUARDED_BY(mu_);
  int64_t answers_sent_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace vitower

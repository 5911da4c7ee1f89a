// private header
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "server/admission.h"
#include "server/call.h"
#include "server/rpc.h"

namespace vitower {

// One Embed call on gRPC's side. Parsing and serialising are ours, so that they are measured as the stages receive and
// encode. Deletes itself when gRPC is done with it.
class EmbedReactor final : public grpc::ServerUnaryReactor {
 public:
  EmbedReactor(const Rpc& rpc, grpc::CallbackServerContext& context, grpc::ByteBuffer& reply)
      : rpc_(rpc), context_(context), reply_(reply), started_at_(rpc.clock.Now()) {}

  // Empties `bytes`.
  void Start(grpc::ByteBuffer& bytes);
  // gRPC calls this after the handler returned and before OnDone, so the call is there; jobs look at its flag.
  void OnCancel() override {
    if (call_) call_->Cancel();
  }
  void OnDone() override;

 private:
  absl::Status Open(grpc::ByteBuffer& bytes);
  std::optional<Refusal> Parse(grpc::ByteBuffer& bytes);
  std::optional<Refusal> Accept(int64_t request_bytes);
  absl::Status Refuse(const Refusal& refusal);
  void Send();
  absl::Status BuildReply();
  void CountItems();
  void Serialise();
  void ObserveStages();
  void WatchReply();
  void FinishWith(const absl::Status& status);

  const Rpc& rpc_;
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& reply_;
  const TimePoint started_at_;

  std::string request_id_;
  std::shared_ptr<Call> call_;  // empty where the request could not be parsed
  Permit permit_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  size_t items_sent_ = 0;
  StallWatch::Wait taken_;  // for the client to take the reply
  TimePoint serialised_at_;
  // gRPC orders OnDone after Finish; this says so to ThreadSanitizer, which does not see into the packaged library.
  std::atomic<bool> finished_{false};
};

}  // namespace vitower

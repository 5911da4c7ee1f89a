#include "server/embed_service.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <optional>
#include <utility>

#include "server/log.h"
#include "server/reply.h"
#include "server/request_id.h"
#include "server/status.h"
#include "server/text.h"
#include "server/version.h"
#include "server/wire_check.h"

namespace vitower {
namespace {

constexpr char kRequestIdKey[] = "x-request-id";
// What a client that retries waits after a full server's answer: about one CPU batch.
constexpr char kRetryPushbackMs[] = "200";
constexpr char kNoRetry[] = "-1";

double Seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), std::string(status.message())};
}

std::string RequestIdOf(const grpc::CallbackServerContext& context) {
  const auto found = context.client_metadata().find(kRequestIdKey);
  if (found == context.client_metadata().end()) return RequestId({});
  return RequestId({found->second.data(), found->second.size()});
}

// gRPC's deadlines are times of day; ours are of the clock that does not jump.
TimePoint DeadlineOf(const grpc::CallbackServerContext& context, TimePoint now) {
  constexpr std::chrono::hours kNever{24 * 365};
  const auto deadline = context.deadline();
  const auto wall_now = std::chrono::system_clock::now();
  if (deadline > wall_now + kNever) return TimePoint::max();
  return now + std::chrono::duration_cast<TimePoint::duration>(deadline - wall_now);
}

}  // namespace

// One Embed call on gRPC's side. Deletes itself when gRPC is done with it.
class EmbedReactor final : public grpc::ServerUnaryReactor {
 public:
  EmbedReactor(EmbedService& service, grpc::CallbackServerContext& context, grpc::ByteBuffer& reply)
      : service_(service), context_(context), reply_(reply), started_at_(service.clock_.Now()) {}

  // Empties `bytes`.
  void Start(grpc::ByteBuffer& bytes);
  // gRPC calls this after the handler returned and before OnDone, so the call is there; jobs look at its flag.
  void OnCancel() override {
    if (call_) call_->Cancel();
  }
  void OnDone() override;

 private:
  template <typename Step>
  absl::Status Guarded(const Step& step);
  absl::Status Open(grpc::ByteBuffer& bytes);
  std::optional<Refusal> Parse(grpc::ByteBuffer& bytes);
  std::optional<Refusal> Accept(int64_t request_bytes);
  absl::Status Refuse(const Refusal& refusal);
  void Send();
  absl::Status BuildReply();
  void CountItems();
  absl::Status Serialise();
  void ObserveStages();
  void FinishWith(const absl::Status& status);

  EmbedService& service_;
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& reply_;
  const TimePoint started_at_;

  std::string request_id_;
  std::shared_ptr<Call> call_;  // empty where the request could not be parsed
  Permit permit_;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  size_t items_sent_ = 0;
  TimePoint serialised_at_;
  // gRPC orders OnDone after Finish; this says so to ThreadSanitizer, which does not see into the packaged library.
  std::atomic<bool> finished_{false};
};

// What `step` returns; of what it throws the client learns only where to read on.
template <typename Step>
absl::Status EmbedReactor::Guarded(const Step& step) {
  try {
    return step();
  } catch (const std::exception& error) {
    Log(LogLevel::kError, Cat("Embed failed: ", error.what()), request_id_);
  }
  return MakeStatus(Fault::kInternal, Cat("the call failed; the server's log says why for request id ", request_id_));
}

void EmbedReactor::Start(grpc::ByteBuffer& bytes) {
  const absl::Status accepted = Guarded([&] { return Open(bytes); });
  if (accepted.ok()) return call_->Seal();
  if (call_) call_->Cancel();  // for the jobs that were handed out before something was thrown
  FinishWith(accepted);
}

absl::Status EmbedReactor::Open(grpc::ByteBuffer& bytes) {
  const auto request_bytes = static_cast<int64_t>(bytes.Length());
  service_.metrics_.CountReceived(request_bytes);
  request_id_ = RequestIdOf(context_);
  context_.AddTrailingMetadata(kRequestIdKey, request_id_);
  std::optional<Refusal> refusal = Parse(bytes);
  if (!refusal) refusal = Accept(request_bytes);
  return refusal ? Refuse(*refusal) : absl::OkStatus();
}

// Takes no memory to speak of for what will be refused anyway.
std::optional<Refusal> EmbedReactor::Parse(grpc::ByteBuffer& bytes) {
  if (std::optional<Refusal> closed = service_.lifecycle_.Closed()) return closed;
  {
    grpc::ProtoBufferReader reader(&bytes);
    const auto max_items = static_cast<int64_t>(service_.model_info_.limits().max_request_items());
    if (std::optional<Refusal> refusal = CheckWire(reader, max_items)) return refusal;
  }
  v1::EmbedRequest request;
  if (!grpc::SerializationTraits<v1::EmbedRequest>::Deserialize(&bytes, &request).ok()) return Malformed();
  Call::Start start{request_id_, started_at_, service_.clock_.Now(), DeadlineOf(context_, service_.clock_.Now())};
  call_ = std::make_shared<Call>(std::move(start), std::move(request), [this] { Send(); });
  return std::nullopt;
}

std::optional<Refusal> EmbedReactor::Accept(int64_t request_bytes) {
  if (std::optional<Refusal> refusal = service_.lifecycle_.Enter(call_)) return refusal;
  return service_.pipeline_->Accept(call_, request_bytes, permit_);
}

absl::Status EmbedReactor::Refuse(const Refusal& refusal) {
  service_.metrics_.CountRejected(refusal.fault);
  const bool passing = refusal.fault == Fault::kQueueFull || refusal.fault == Fault::kBytesFull;
  if (Row(refusal.fault).code == absl::StatusCode::kResourceExhausted) {
    context_.AddTrailingMetadata("grpc-retry-pushback-ms", passing ? kRetryPushbackMs : kNoRetry);
  }
  // An overloaded or stopping server refuses many calls: the metrics count them, the log need not.
  const bool servers_state = passing || Row(refusal.fault).code == absl::StatusCode::kUnavailable;
  Log(servers_state ? LogLevel::kDebug : LogLevel::kWarning, Cat("Embed refused: ", refusal.message), request_id_);
  return MakeStatus(refusal.fault, refusal.message);
}

// On the thread that answered the last item.
void EmbedReactor::Send() {
  const absl::Status built = Guarded([this] { return BuildReply(); });
  if (!built.ok()) {
    items_sent_ = 0;
    reply_.Clear();
  }
  FinishWith(built);
}

absl::Status EmbedReactor::BuildReply() {
  CountItems();
  const std::optional<Fault> gone = call_->ClientGone(service_.clock_.Now());
  absl::Status built = gone ? MakeStatus(*gone, "the client did not wait for the reply") : Serialise();
  serialised_at_ = service_.clock_.Now();
  ObserveStages();
  permit_.ReleaseItems();
  return built;
}

void EmbedReactor::CountItems() {
  for (size_t i = 0; i < call_->kinds().size(); ++i) {
    const uint32_t code = call_->answers()[i].result.status().code();
    service_.metrics_.CountItem(call_->kinds()[i], static_cast<absl::StatusCode>(code));
  }
}

absl::Status EmbedReactor::Serialise() {
  v1::EmbedResponse response;
  for (ItemAnswer& answer : call_->answers()) *response.add_results() = std::move(answer.result);
  bool own_buffer = false;
  const grpc::Status done = grpc::SerializationTraits<v1::EmbedResponse>::Serialize(response, &reply_, &own_buffer);
  if (!done.ok()) return MakeStatus(Fault::kInternal, Cat("the reply cannot be serialised: ", done.error_message()));
  items_sent_ = call_->answers().size();
  service_.metrics_.CountSent(static_cast<int64_t>(reply_.Length()));
  return absl::OkStatus();
}

void EmbedReactor::ObserveStages() {
  for (ItemAnswer& answer : call_->answers()) {
    if (items_sent_ > 0) answer.times.Set(Stage::kEncode, serialised_at_ - answer.encode_from);
    for (size_t i = 0; i < kStageCount; ++i) {
      const Stage stage = static_cast<Stage>(i);
      if (answer.times.reached(stage)) service_.metrics_.ObserveStage(stage, answer.times.seconds(stage));
    }
  }
}

void EmbedReactor::FinishWith(const absl::Status& status) {
  code_ = status.code();
  finished_.store(true, std::memory_order_release);
  Finish(ToGrpc(status));
}

void EmbedReactor::OnDone() {
  finished_.load(std::memory_order_acquire);
  const TimePoint done_at = service_.clock_.Now();
  const double send_seconds = Seconds(done_at - serialised_at_);
  for (size_t i = 0; i < items_sent_; ++i) service_.metrics_.ObserveStage(Stage::kSend, send_seconds);
  service_.metrics_.ObserveRequest("Embed", code_, Seconds(done_at - started_at_));
  if (ShouldLog(LogLevel::kDebug)) {
    Log(LogLevel::kDebug, Cat("Embed done: ", items_sent_, " items, ", CodeName(code_)), request_id_);
  }
  const std::shared_ptr<Call> call = std::move(call_);
  Lifecycle& lifecycle = service_.lifecycle_;
  delete this;  // the permit with it
  if (call) lifecycle.Leave(*call);
}

namespace {

// Answers UNIMPLEMENTED at once.
class RefusingStream final : public grpc::ServerBidiReactor<v1::EmbedStreamRequest, v1::EmbedStreamResponse> {
 public:
  explicit RefusingStream(Metrics& metrics) {
    metrics.ObserveRequest("EmbedStream", absl::StatusCode::kUnimplemented, 0);
    Finish({grpc::StatusCode::UNIMPLEMENTED, "EmbedStream is not built yet: use Embed"});
  }
  void OnDone() override { delete this; }
};

}  // namespace

EmbedService::EmbedService(v1::ModelInfo model_info, Lifecycle& lifecycle, Metrics& metrics, Clock& clock)
    : model_info_(std::move(model_info)), lifecycle_(lifecycle), metrics_(metrics), clock_(clock) {}

grpc::ServerUnaryReactor* EmbedService::Embed(grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
                                              grpc::ByteBuffer* reply) {
  auto* reactor = new EmbedReactor(*this, *context, *reply);
  // gRPC made the buffer for this call and does not read it again; emptied, a request is held once, not twice.
  reactor->Start(const_cast<grpc::ByteBuffer&>(*request));
  return reactor;
}

grpc::ServerBidiReactor<v1::EmbedStreamRequest, v1::EmbedStreamResponse>* EmbedService::EmbedStream(
    grpc::CallbackServerContext* /*context*/) {
  return new RefusingStream(metrics_);
}

grpc::ServerUnaryReactor* EmbedService::GetModelInfo(grpc::CallbackServerContext* context,
                                                     const v1::GetModelInfoRequest* /*request*/, v1::ModelInfo* reply) {
  const TimePoint started_at = clock_.Now();
  *reply = model_info_;
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  metrics_.ObserveRequest("GetModelInfo", absl::StatusCode::kOk, Seconds(clock_.Now() - started_at));
  return reactor;
}

v1::ModelInfo DescribeModel(const EncoderInfo& info, const std::string& devices, const ServerOptions& options) {
  const auto u32 = [](int64_t value) { return static_cast<uint32_t>(value); };
  v1::ModelInfo model;
  model.set_name(info.name);
  model.set_fingerprint(info.fingerprint);
  model.set_dtype(ToProto(info.dtype));
  model.set_device(devices);
  model.set_depth(u32(info.tower.depth));
  model.set_hidden_size(u32(info.tower.hidden_size));
  model.set_num_heads(u32(info.tower.num_heads));
  model.set_intermediate_size(u32(info.tower.intermediate_size));
  model.set_out_hidden_size(u32(info.tower.out_hidden_size));
  model.set_patch_size(u32(info.tower.patch_size));
  model.set_temporal_patch_size(u32(info.tower.temporal_patch_size));
  model.set_spatial_merge_size(u32(info.tower.spatial_merge_size));
  for (const int64_t index : info.tower.deepstack_visual_indexes) model.add_deepstack_visual_indexes(u32(index));
  for (const std::string& name : OutputNames(info)) model.add_outputs(name);
  model.set_min_pixels(static_cast<uint64_t>(info.image_processor.min_pixels));
  model.set_max_pixels(static_cast<uint64_t>(info.image_processor.max_pixels));
  model.set_server_version(std::string(kVersion));
  v1::Limits& limits = *model.mutable_limits();
  limits.set_max_request_bytes(static_cast<uint64_t>(options.max_request_bytes));
  limits.set_max_reply_bytes(static_cast<uint64_t>(options.max_reply_bytes));
  limits.set_max_request_items(static_cast<uint64_t>(options.max_request_items));
  limits.set_max_image_pixels(static_cast<uint64_t>(options.max_image_pixels));
  limits.set_max_item_patches(static_cast<uint64_t>(options.max_item_patches));
  limits.set_max_batch_patches(static_cast<uint64_t>(options.max_batch_patches));
  limits.set_max_queue_patches(static_cast<uint64_t>(options.max_queue_patches));
  limits.set_max_inflight_bytes(static_cast<uint64_t>(options.max_inflight_bytes));
  return model;
}

}  // namespace vitower

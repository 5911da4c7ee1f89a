#include "client/client.h"

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpc/grpc.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "vitower/v1/vitower.grpc.pb.h"

namespace vitower {
namespace {

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

v1::DType ToProto(WireDType dtype) { return static_cast<v1::DType>(dtype); }

WireDType FromProto(v1::DType dtype) {
  return v1::DType_IsValid(dtype) ? static_cast<WireDType>(dtype) : WireDType::kUnspecified;
}

static_assert(static_cast<int>(WireDType::kBf16) == v1::DTYPE_BF16 &&
              static_cast<int>(WireDType::kFp16) == v1::DTYPE_FP16 &&
              static_cast<int>(WireDType::kFp32) == v1::DTYPE_FP32);

void FillPreprocessing(const EmbedItem& item, v1::Preprocessing& preprocessing) {
  if (item.min_pixels) preprocessing.set_min_pixels(*item.min_pixels);
  if (item.max_pixels) preprocessing.set_max_pixels(*item.max_pixels);
  if (item.do_resize) preprocessing.set_do_resize(*item.do_resize);
  if (item.apply_exif) preprocessing.set_apply_exif(*item.apply_exif);
  if (item.background) {
    preprocessing.mutable_background()->set_red((*item.background)[0]);
    preprocessing.mutable_background()->set_green((*item.background)[1]);
    preprocessing.mutable_background()->set_blue((*item.background)[2]);
  }
}

void FillItem(const EmbedItem& item, v1::Item& out) {
  out.set_id(item.id);
  out.set_image(item.image);
  FillPreprocessing(item, *out.mutable_preprocessing());
  out.mutable_outputs()->set_tokens(item.tokens);
  for (uint32_t level : item.deepstack_levels) out.mutable_outputs()->add_deepstack_levels(level);
  out.mutable_outputs()->set_pooled(item.pooled);
  out.mutable_outputs()->set_dtype(ToProto(item.dtype));
}

OutputTensor TakeTensor(v1::Tensor& tensor) {
  return {.name = std::move(*tensor.mutable_name()),
          .shape = {tensor.shape().begin(), tensor.shape().end()},
          .dtype = FromProto(tensor.dtype()),
          .data = std::move(*tensor.mutable_data())};
}

std::vector<std::pair<std::string, double>> StageSeconds(const v1::StageTimes& times) {
  return {{"receive", times.receive_seconds()},
          {"admit", times.admit_seconds()},
          {"decode", times.decode_seconds()},
          {"resize", times.resize_seconds()},
          {"queue", times.queue_seconds()},
          {"upload", times.upload_seconds()},
          {"patch_embed", times.patch_embed_seconds()},
          {"position", times.position_seconds()},
          {"blocks", times.blocks_seconds()},
          {"merger", times.merger_seconds()},
          {"download", times.download_seconds()}};
}

EmbedResult TakeResult(v1::Result& result) {
  EmbedResult out;
  out.id = std::move(*result.mutable_id());
  out.status = absl::Status(static_cast<absl::StatusCode>(result.status().code()), result.status().message());
  out.grid_thw = {result.grid_thw().t(), result.grid_thw().h(), result.grid_thw().w()};
  out.token_count = static_cast<int64_t>(result.token_count());
  out.hidden_size = static_cast<int64_t>(result.hidden_size());
  out.dtype = FromProto(result.dtype());
  for (v1::Tensor& tensor : *result.mutable_outputs()) out.outputs.push_back(TakeTensor(tensor));
  out.outputs_not_sent = {result.outputs_not_sent().begin(), result.outputs_not_sent().end()};
  out.stage_seconds = StageSeconds(result.times());
  out.batch_items = result.times().batch_items();
  out.batch_patches = static_cast<int64_t>(result.times().batch_patches());
  return out;
}

ServedModel ToServedModel(const v1::ModelInfo& info) {
  ServedModel out;
  out.name = info.name();
  out.fingerprint = info.fingerprint();
  out.device = info.device();
  out.server_version = info.server_version();
  out.dtype = FromProto(info.dtype());
  out.out_hidden_size = info.out_hidden_size();
  out.patch_size = info.patch_size();
  out.spatial_merge_size = info.spatial_merge_size();
  out.deepstack_visual_indexes = {info.deepstack_visual_indexes().begin(), info.deepstack_visual_indexes().end()};
  out.outputs = {info.outputs().begin(), info.outputs().end()};
  out.min_pixels = static_cast<int64_t>(info.min_pixels());
  out.max_pixels = static_cast<int64_t>(info.max_pixels());
  out.max_request_bytes = static_cast<int64_t>(info.limits().max_request_bytes());
  out.max_reply_bytes = static_cast<int64_t>(info.limits().max_reply_bytes());
  out.max_request_items = static_cast<int64_t>(info.limits().max_request_items());
  out.max_item_patches = static_cast<int64_t>(info.limits().max_item_patches());
  return out;
}

// grpc.health.v1.HealthCheckResponse has one field, 1: the serving status. No distribution ships its generated code, so
// it is read from the unknown fields of an empty message; the request for the whole server is the empty message.
using HealthStub = grpc::TemplatedGenericStub<google::protobuf::Empty, google::protobuf::Empty>;
constexpr char kHealthMethod[] = "/grpc.health.v1.Health/Check";
constexpr uint64_t kServing = 1;

uint64_t ServingStatus(const google::protobuf::Empty& reply) {
  const google::protobuf::UnknownFieldSet& fields = reply.GetReflection()->GetUnknownFields(reply);
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    if (field.number() == 1 && field.type() == google::protobuf::UnknownField::TYPE_VARINT) return field.varint();
  }
  return 0;
}

std::string_view ServingStatusName(uint64_t status) {
  constexpr std::string_view kNames[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
  return status < 4 ? kNames[status] : "UNKNOWN";
}

absl::Status CheckAddress(std::string_view server) {
  const size_t colon = server.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(std::string(server.substr(colon + 1)), &port) || port < 1 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("server: \"", std::string(server), "\" is not HOST:PORT"));
  }
  return absl::OkStatus();
}

// gRPC shuts down with its last user, which waits up to 10 s for its poller where large messages were sent. A process
// that ends needs no such shut-down: this user stays.
void KeepGrpcRunning() {
  static const bool kept = (grpc_init(), true);
  (void)kept;
}

constexpr char kPushbackKey[] = "grpc-retry-pushback-ms";

// The status of a call with what the server said of trying again.
absl::Status ToStatus(const grpc::Status& status, const grpc::ClientContext& context) {
  absl::Status result = ToStatus(status);
  const auto found = context.GetServerTrailingMetadata().find(kPushbackKey);
  if (found != context.GetServerTrailingMetadata().end()) {
    result.SetPayload(kPushbackKey, absl::Cord(absl::string_view(found->second.data(), found->second.size())));
  }
  return result;
}

int ClampToInt(int64_t value) {
  return static_cast<int>(std::clamp<int64_t>(value, 0, std::numeric_limits<int>::max()));
}

}  // namespace

std::string_view Name(WireDType dtype) {
  constexpr std::string_view kNames[] = {"unspecified", "bf16", "fp16", "fp32"};
  return kNames[static_cast<size_t>(dtype)];
}

struct Client::Impl {
  explicit Impl(std::shared_ptr<grpc::Channel> a_channel)
      : channel(std::move(a_channel)), embedder(v1::VisionEmbedder::NewStub(channel)), health(channel) {}

  const std::shared_ptr<grpc::Channel> channel;
  const std::unique_ptr<v1::VisionEmbedder::Stub> embedder;
  HealthStub health;  // its calls are thread-safe
};

std::optional<std::chrono::milliseconds> RetryAfter(const absl::Status& refusal) {
  if (refusal.code() != absl::StatusCode::kResourceExhausted) return std::nullopt;
  const auto pushback = refusal.GetPayload(kPushbackKey);
  int64_t wait_ms = 0;  // a message above gRPC's own limits comes without one: no wait cures that
  if (!pushback || !absl::SimpleAtoi(std::string(*pushback), &wait_ms) || wait_ms < 0) return std::nullopt;
  return std::chrono::milliseconds(wait_ms);
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const ClientOptions& options) {
  if (absl::Status status = CheckAddress(options.server); !status.ok()) return status;
  KeepGrpcRunning();
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(ClampToInt(options.max_reply_bytes));
  arguments.SetMaxSendMessageSize(-1);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(options.server, grpc::InsecureChannelCredentials(), arguments);
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(std::move(channel))));
}

absl::StatusOr<std::vector<EmbedResult>> Client::Embed(absl::Span<const EmbedItem> items, Deadline deadline) {
  v1::EmbedRequest request;
  for (const EmbedItem& item : items) FillItem(item, *request.add_items());
  grpc::ClientContext context;
  context.set_deadline(deadline);
  v1::EmbedResponse response;
  if (grpc::Status status = impl_->embedder->Embed(&context, request, &response); !status.ok()) {
    return ToStatus(status, context);
  }
  if (static_cast<size_t>(response.results_size()) != items.size()) {
    return absl::InternalError(
        absl::StrCat("the server answered ", items.size(), " items with ", response.results_size(), " results"));
  }
  std::vector<EmbedResult> results;
  results.reserve(items.size());
  for (v1::Result& result : *response.mutable_results()) results.push_back(TakeResult(result));
  return results;
}

absl::StatusOr<ServedModel> Client::GetModelInfo(Deadline deadline) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  v1::ModelInfo info;
  if (grpc::Status status = impl_->embedder->GetModelInfo(&context, v1::GetModelInfoRequest(), &info); !status.ok()) {
    return ToStatus(status);
  }
  return ToServedModel(info);
}

absl::Status Client::CheckHealth(Deadline deadline) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  const google::protobuf::Empty request;
  google::protobuf::Empty reply;
  grpc::CompletionQueue queue;
  const auto call = impl_->health.PrepareUnaryCall(&context, kHealthMethod, request, &queue);
  call->StartCall();
  grpc::Status status;
  call->Finish(&reply, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);  // comes by the deadline
  if (!status.ok()) return ToStatus(status);
  const uint64_t serving = ServingStatus(reply);
  if (serving == kServing) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the server is ", std::string(ServingStatusName(serving))));
}

}  // namespace vitower

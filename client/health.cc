#include "client/health.h"

#include <google/protobuf/empty.pb.h>
#include <google/protobuf/unknown_field_set.h>
#include <grpcpp/generic/generic_stub.h>

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "client/wire.h"
#include "vitower/v1/vitower.grpc.pb.h"  // for gRPC's serialisation of protobuf messages

namespace vitower {
namespace {

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

}  // namespace

absl::Status CheckServerHealth(const std::shared_ptr<grpc::Channel>& channel,
                               std::chrono::system_clock::time_point deadline) {
  grpc::ClientContext context;
  context.set_deadline(deadline);
  const google::protobuf::Empty request;
  google::protobuf::Empty reply;
  grpc::CompletionQueue queue;
  HealthStub stub(channel);
  const auto call = stub.PrepareUnaryCall(&context, kHealthMethod, request, &queue);
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

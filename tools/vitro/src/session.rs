//! What a command works with: one installation, AWS, and the time.

use aws_config::{Region, SdkConfig};
use vitro_cloud::archive::S3Archive;
use vitro_cloud::chain::DynamoChains;
use vitro_cloud::config::StackName;
use vitro_cloud::days::DynamoDays;
use vitro_cloud::devices::{Device, Devices};
use vitro_cloud::identities::Identities;
use vitro_cloud::manifest::Manifest;
use vitro_cloud::parked::ParkedTable;
use vitro_cloud::queue::{AskTask, QueueUrls, SqsOutbox};
use vitro_cloud::readings::Readings;
use vitro_cloud::trust::TrustTable;
use vitro_proof::{Customer, DeviceId};

use crate::cli::Global;
use crate::error::CliError;

/// One installation in one account and region.
pub struct Session {
    /// Its name, the prefix of every resource.
    pub stack: StackName,
    /// How to reach AWS. `AWS_ENDPOINT_URL` and its variants for single services are honoured.
    pub aws: SdkConfig,
}

impl Session {
    /// Reads which installation is meant, and region and credentials from the environment.
    ///
    /// # Errors
    /// [`CliError::Usage`] if no customer is named, no region is set, or a name is malformed.
    pub async fn open(global: &Global) -> Result<Self, CliError> {
        let stack = stack_name(global)?;
        Ok(Self { stack, aws: aws(global).await? })
    }

    /// A client of AWS IoT's control plane.
    #[must_use]
    pub fn iot(&self) -> aws_sdk_iot::Client {
        aws_sdk_iot::Client::new(&self.aws)
    }

    fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.aws)
    }

    /// The registry of devices.
    #[must_use]
    pub fn devices(&self) -> Devices {
        Devices::new(self.dynamodb(), self.stack.resource("devices"))
    }

    /// The registry with its identities: what devices are registered by.
    #[must_use]
    pub fn identities(&self) -> Identities {
        Identities::new(self.dynamodb(), self.stack.resource("devices"), self.stack.resource("identities"))
    }

    /// What the customer expects.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest::new(self.dynamodb(), self.stack.resource("manifest"))
    }

    /// The authorities whose devices are taken in.
    #[must_use]
    pub fn trust(&self) -> TrustTable {
        TrustTable::new(self.dynamodb(), self.stack.resource("trust"))
    }

    /// A registered device.
    ///
    /// # Errors
    /// [`CliError::NotFound`] if it is not registered; [`CliError::Cloud`].
    pub async fn device(&self, thing: &DeviceId) -> Result<Device, CliError> {
        let found = self.devices().get(thing).await?;
        found.ok_or_else(|| CliError::NotFound(format!("{thing} is not registered in {}", self.stack)))
    }

    /// The time series.
    #[must_use]
    pub fn readings(&self) -> Readings {
        Readings::new(self.dynamodb(), self.stack.resource("readings"))
    }

    /// The days.
    #[must_use]
    pub fn days(&self) -> DynamoDays {
        DynamoDays::new(self.dynamodb(), self.stack.resource("days"))
    }

    /// What was parked.
    #[must_use]
    pub fn parked(&self) -> ParkedTable {
        ParkedTable::new(self.dynamodb(), self.stack.resource("parked"))
    }

    /// The queue of days to publish.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn publish_queue(&self) -> Result<SqsOutbox, CliError> {
        let urls = QueueUrls { publish: Some(self.queue_url("publish").await?), ..QueueUrls::default() };
        Ok(SqsOutbox::new(self.sqs(), urls))
    }

    /// The queue of devices whose status changed.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn status_queue(&self) -> Result<SqsOutbox, CliError> {
        let urls = QueueUrls { status: Some(self.queue_url("status").await?), ..QueueUrls::default() };
        Ok(SqsOutbox::new(self.sqs(), urls))
    }

    /// The queue of asks for interim blocks, by its URL if somebody told that.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn asks_queue(&self, url: Option<&str>) -> Result<SqsOutbox, CliError> {
        let url = match url {
            Some(url) => url.to_owned(),
            None => self.queue_url(AskTask::QUEUE).await?,
        };
        Ok(SqsOutbox::new(self.sqs(), QueueUrls { asks: Some(url), ..QueueUrls::default() }))
    }

    /// A client of SQS.
    #[must_use]
    pub fn sqs(&self) -> aws_sdk_sqs::Client {
        aws_sdk_sqs::Client::new(&self.aws)
    }

    /// The URL of one of the installation's queues.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn queue_url(&self, queue: &str) -> Result<String, CliError> {
        let found = self.sqs().get_queue_url().queue_name(self.stack.resource(queue)).send().await;
        let url = found.map_err(|e| CliError::aws("GetQueueUrl", &e))?.queue_url;
        url.ok_or_else(|| CliError::malformed("GetQueueUrl", "it holds no URL"))
    }

    /// Who calls, as AWS names them: what is decided is written down under this name.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn caller(&self) -> Result<String, CliError> {
        let found = aws_sdk_sts::Client::new(&self.aws).get_caller_identity().send().await;
        let arn = found.map_err(|e| CliError::aws("GetCallerIdentity", &e))?.arn;
        arn.ok_or_else(|| CliError::malformed("GetCallerIdentity", "it names nobody"))
    }

    /// The archive. Its bucket's name ends in account and region.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn archive(&self) -> Result<S3Archive, CliError> {
        let Place { account, region, .. } = self.place().await?;
        let bucket = format!("{}-{account}-{region}", self.stack.resource("archive"));
        Ok(S3Archive::new(vitro_cloud::aws::s3(&self.aws), bucket))
    }

    /// Partition and account that the installation is in.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn account(&self) -> Result<(String, String), CliError> {
        let Place { partition, account, .. } = self.place().await?;
        Ok((partition, account))
    }

    /// Where the installation is: a table's ARN tells.
    ///
    /// # Errors
    /// [`CliError::Aws`].
    pub async fn place(&self) -> Result<Place, CliError> {
        let table = self.dynamodb().describe_table().table_name(self.stack.resource("days")).send().await;
        let table = table.map_err(|e| CliError::aws("DescribeTable", &e))?.table;
        let arn = table.and_then(|table| table.table_arn).unwrap_or_default();
        match arn.split(':').collect::<Vec<_>>()[..] {
            [_, partition, _, region, account, ..] => {
                Ok(Place { partition: partition.into(), account: account.into(), region: region.into() })
            }
            _ => Err(CliError::malformed("DescribeTable", "the table has no ARN")),
        }
    }

    /// A client of Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> aws_sdk_secretsmanager::Client {
        aws_sdk_secretsmanager::Client::new(&self.aws)
    }

    /// The numbers of commands.
    #[must_use]
    pub fn chains(&self) -> DynamoChains {
        DynamoChains::new(self.dynamodb(), self.stack.resource("devices"))
    }

    /// A client of the data plane of AWS IoT.
    #[must_use]
    pub fn iot_data(&self) -> aws_sdk_iotdataplane::Client {
        vitro_cloud::commands::iot_client(&self.aws, None)
    }

    /// A client of KMS.
    #[must_use]
    pub fn kms(&self) -> aws_sdk_kms::Client {
        aws_sdk_kms::Client::new(&self.aws)
    }
}

/// Where an installation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition of AWS, such as `aws`.
    pub partition: String,
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
}

/// The installation that the flags name.
///
/// # Errors
/// [`CliError::Usage`].
pub fn stack_name(global: &Global) -> Result<StackName, CliError> {
    let customer = global
        .customer
        .as_deref()
        .ok_or_else(|| CliError::Usage("name the customer with --customer or VITRO_CUSTOMER".into()))?;
    let customer: Customer = customer.parse().map_err(|e| CliError::Usage(format!("--customer: {e}")))?;
    StackName::new(customer, &global.stage).map_err(|e| CliError::Usage(format!("--stage: {e}")))
}

/// Region and credentials, for commands that need no installation.
///
/// # Errors
/// [`CliError::Usage`] if no region is set.
pub async fn aws(global: &Global) -> Result<SdkConfig, CliError> {
    let mut config = vitro_cloud::aws::shared_config().await;
    if let Some(region) = &global.region {
        config = config.into_builder().region(Region::new(region.clone())).build();
    }
    if config.region().is_none_or(|region| region.as_ref().is_empty()) {
        return Err(CliError::Usage("set the region with --region or AWS_REGION".into()));
    }
    Ok(config)
}
